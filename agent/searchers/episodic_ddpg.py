"""DDPG as AMC and HAQ use it: one action in [0, 1] per step, one reward per episode, written into every transition.

Settings that both publish: two hidden layers of 300, learning rates 1e-4 (actor) and 1e-3 (critic), tau 0.01, gamma 1,
batches of 64, truncated normal noise of 0.5 that decays from episode to episode once warm-up is over, rewards minus a
running mean of batch rewards (weight 0.5), one update per step after warm-up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from agent.random_stream import RandomStream
from plan.assignment import FloatArray

HIDDEN, ACTOR_RATE, CRITIC_RATE, TAU, GAMMA, BATCH = 300, 1e-4, 1e-3, 0.01, 1.0, 64
NOISE, MEAN_WEIGHT, FIRST_WEIGHTS = 0.5, 0.5, 3e-3


@dataclass(frozen=True)
class Published:
    """What differs between the two: noise's decay per episode, warm-up and total episodes, replayed episodes."""

    decay: float
    warm_up: int
    episodes: int
    replayed: int

    def warm_up_of(self, episodes: int) -> int:
        """Returns the random episodes at the start of so many, in the published proportion, at least one."""
        return max(round(episodes * self.warm_up / self.episodes), 1)


Step = Callable[[FloatArray], float]
"""Gives the action in [0, 1] for a state."""


class EpisodicDdpg:
    """One agent.

    Args:
        state_size: features of a state, all about 0 to 1.
        steps: of an episode.
        published: settings.
        episodes: that it will play.
        seed: of weights, noise and batches.
    """

    def __init__(self, state_size: int, steps: int, published: Published, *, episodes: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.warm_up, self.decay, self.played = published.warm_up_of(episodes), published.decay, 0
        self.capacity = published.replayed * steps
        self.states = np.empty((0, state_size), dtype=np.float32)
        self.following = np.empty((0, state_size), dtype=np.float32)
        self.actions, self.rewards, self.ends = (np.empty((0, 1), dtype=np.float32) for _ in range(3))
        self.mean: float | None = None
        with RandomStream(seed):
            self.actor = nn.Sequential(*_layers(state_size), nn.Sigmoid())
            self.critic = nn.Sequential(*_layers(state_size + 1))
        self.targets = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.optimizers = (
            torch.optim.Adam(self.actor.parameters(), lr=ACTOR_RATE),
            torch.optim.Adam(self.critic.parameters(), lr=CRITIC_RATE),
        )

    def act(self, state: FloatArray) -> float:
        """Returns an action in [0, 1]: uniform in warm-up, the actor's with truncated normal noise after it."""
        from scipy.stats import truncnorm  # imported here: half a second that other searchers need not wait

        if self.played < self.warm_up:
            return float(self.rng.random())
        with torch.no_grad():
            centre = float(self.actor(torch.as_tensor(state, dtype=torch.float32)))
        scale = NOISE * self.decay ** (self.played - self.warm_up)
        low, high = (0.0 - centre) / scale, (1.0 - centre) / scale
        return float(np.clip(truncnorm.rvs(low, high, loc=centre, scale=scale, random_state=self.rng), 0.0, 1.0))

    def finish(self, states: FloatArray, actions: FloatArray, reward: float) -> None:
        """Takes in an episode, states (T, S) and the actions (T,) that were carried out, and learns from replays."""
        following = np.concatenate((states[1:], states[-1:]))
        ends = np.zeros((len(states), 1))
        ends[-1] = 1.0
        rewards = np.full((len(states), 1), reward)
        self.states = self._kept(self.states, states)
        self.following = self._kept(self.following, following)
        self.actions = self._kept(self.actions, actions[:, None])
        self.rewards = self._kept(self.rewards, rewards)
        self.ends = self._kept(self.ends, ends)
        self.played += 1
        if self.played > self.warm_up:
            for _ in range(len(states)):
                self._update()

    def _kept(self, before: np.ndarray[tuple[int, int], np.dtype[np.float32]], new: FloatArray):  # type: ignore[no-untyped-def]
        return np.concatenate((before, new.astype(np.float32)))[-self.capacity :]

    def _update(self) -> None:
        """Takes one step of the critic, of the actor, and of both targets."""
        rows = self.rng.integers(0, len(self.states), BATCH)
        states, actions, rewards, following, ends = (
            torch.from_numpy(part[rows])
            for part in (self.states, self.actions, self.rewards, self.following, self.ends)
        )
        batch_mean = float(rewards.mean())
        self.mean = batch_mean if self.mean is None else MEAN_WEIGHT * batch_mean + (1 - MEAN_WEIGHT) * self.mean
        with torch.no_grad():
            next_value = self.targets[1](torch.cat((following, self.targets[0](following)), dim=1))
            target = rewards - self.mean + GAMMA * (1 - ends) * next_value
        self._descend(1, functional.mse_loss(self.critic(torch.cat((states, actions), dim=1)), target))
        self._descend(0, -self.critic(torch.cat((states, self.actor(states)), dim=1)).mean())
        for target_net, net in zip(self.targets, (self.actor, self.critic), strict=True):
            for slow, fast in zip(target_net.parameters(), net.parameters(), strict=True):
                slow.data.lerp_(fast.data, TAU)

    def _descend(self, which: int, loss: torch.Tensor) -> None:
        optimizer = self.optimizers[which]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def _layers(inputs: int) -> tuple[nn.Module, ...]:
    """Returns two hidden layers and one output whose first weights are small, as published."""
    last = nn.Linear(HIDDEN, 1)
    nn.init.uniform_(last.weight, -FIRST_WEIGHTS, FIRST_WEIGHTS)
    return nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), last


def scaled(features: FloatArray) -> FloatArray:
    """Returns columns (L, n) scaled to 0 ... 1, constant ones to 0."""
    low, high = features.min(axis=0), features.max(axis=0)
    return np.asarray((features - low) / np.where(high > low, high - low, 1.0))
