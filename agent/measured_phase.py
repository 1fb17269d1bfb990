"""The short phase in which measured accuracy rewards the agent.

A few plans are played at exchange rates whose plans lie about the limit, with drawn methods, and measured. Where a plan
lost more (or less) than the proxy said, the difference, in units of error and at the episode's exchange rate, is taken
from the rewards of its layers in proportion to their predicted errors. PPO learns from these differences alone (what
was predicted it has learned already), against the mean of the plans; DDPG replays the corrected transitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agent.decide import play
from agent.hyperparameters import Hyperparameters
from agent.layer_errors import layer_errors
from agent.learners import Learners
from agent.limits import Bounds
from agent.rollout import scaled
from envs.accuracy.archive import Archive
from envs.draws import TRAINED_RATES
from envs.episodes import Episodes, Outcome
from envs.observation import Observer
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import Choices

GRID = 65
NEAR = (0.6, 1.6)
"""Plans are played where the predicted error is this share of the limit's."""
EPOCHS = 4
LARGEST = 1.0
"""A measured difference counts at most as much as the predicted error itself: few images measure roughly."""


@dataclass(frozen=True, eq=False)
class Played:
    """Episodes as they were played: arrays over L steps and B plans.

    observations float32 (L, B, F), masks bool (L, B, M), methods and drawn int64 (L, B), values float32 (L, B, 3),
    rewards float64 (L, B) as the env gave them, log_probabilities float32 (L, B); choices int16 (B, L, 4), errors (B,)
    as predicted, rates and gains (B,).
    """

    observations: NDArray[np.float32]
    masks: NDArray[np.bool_]
    methods: NDArray[np.int64]
    drawn: NDArray[np.int64]
    values: NDArray[np.float32]
    rewards: FloatArray
    log_probabilities: NDArray[np.float32]
    choices: Choices
    errors: FloatArray
    rates: FloatArray
    gains: FloatArray


def adapt(
    learners: Learners,
    observer: Observer,
    archive: Archive,
    limits: Budget,
    *,
    hyper: Hyperparameters,
    plans: int,
    images: int,
) -> int:
    """Measures so many plans of the agent, lets both learners learn from them, and returns how many there were.

    Args:
        learners: changed in place; draws from the global random state.
        observer: of the problem that the agent was trained on.
        archive: measures and counts.
        limits: about which plans are played.
        hyper: of the agent.
        plans: how many to play.
        images: to measure on.
    """
    rates = rates_about(learners, observer, limits, plans)
    played = play_recorded(learners, observer, rates)
    drops = np.array([archive.evaluate(choice, images).drop_points for choice in played.choices])
    corrections = layer_corrections(observer, played, drops)
    if not hyper.freeze_ppo:
        _teach_ppo(learners, played, corrections, hyper)
    if not hyper.freeze_ddpg:
        _teach_ddpg(learners, played, corrections, hyper)
    return len(drops)


def rates_about(learners: Learners, observer: Observer, limits: Budget, plans: int) -> FloatArray:
    """Returns exchange rates (plans,) at which the agent's plans lie about the limit on the drop."""
    low, high = TRAINED_RATES
    grid = np.geomspace(low, high, GRID)
    errors = play(learners, observer, grid).metrics.error
    wanted = float(Bounds.of(observer.problem, limits).upper[0])
    if not np.isfinite(wanted):
        return np.geomspace(low, high, plans)
    strongest, mildest = (
        int(np.abs(np.log(np.maximum(errors, 1e-12) / (share * wanted))).argmin()) for share in NEAR[::-1]
    )
    return np.geomspace(grid[min(strongest, mildest)], grid[max(strongest, mildest)], plans)


def play_recorded(learners: Learners, observer: Observer, rates: FloatArray) -> Played:
    """Plays one episode per rate with drawn methods and the actor's own values."""
    episodes = Episodes(observer, len(rates))
    observations = episodes.begin(rates)
    gains = observer.hints.gains[episodes.state.rows]
    seen, masks, decisions, rewards = [], [], [], []
    for _ in range(observer.problem.space.n_layers):
        seen.append(observations)
        masks.append(episodes.state.mask)
        decisions.append(learners.decide(observations, masks[-1], deterministic=False))
        observations, paid = episodes.step(decisions[-1].methods, decisions[-1].values)
        rewards.append(paid)
    outcome: Outcome | None = episodes.outcome
    if outcome is None:
        raise RuntimeError("the episodes did not end with the last layer")
    return Played(
        observations=np.stack(seen),
        masks=np.stack(masks),
        methods=np.stack([decision.methods for decision in decisions]),
        drawn=np.stack([decision.drawn for decision in decisions]),
        values=np.stack([decision.values for decision in decisions]),
        rewards=np.stack(rewards),
        log_probabilities=np.stack([decision.log_probabilities.numpy() for decision in decisions]),
        choices=outcome.choices,
        errors=outcome.metrics.error,
        rates=np.asarray(rates),
        gains=np.asarray(gains),
    )


def layer_corrections(observer: Observer, played: Played, drops: FloatArray) -> FloatArray:
    """Returns what measured drops (B,) take from the rewards of every layer, (L, B), in the env's units."""
    calibration = observer.problem.calibration
    measured = np.array([calibration.error_at(max(float(drop), 0.0)) for drop in drops])
    most = LARGEST * played.errors
    difference = np.clip(measured - played.errors, -most, most)
    shares = np.stack([_error_shares(observer.problem, choice) for choice in played.choices], axis=1)
    return np.asarray(shares * (played.rates * difference / observer.hints.error_scale))


def _error_shares(problem: Problem, choice: Choices) -> FloatArray:
    found = layer_errors(problem, choice)
    return found / max(float(found.sum()), 1e-300)


def _teach_ppo(learners: Learners, played: Played, corrections: FloatArray, hyper: Hyperparameters) -> None:
    """Takes a few clipped policy gradient steps; the advantage is what the rest of an episode did beyond the mean."""
    to_come = -np.cumsum((corrections / played.gains)[::-1], axis=0)[::-1]
    advantage = to_come - to_come.mean(axis=1, keepdims=True)
    spread = float(advantage.std())
    if spread < 1e-12:
        return
    policy, flat = learners.ppo.policy, played.observations.shape[0] * played.observations.shape[1]
    observations = torch.as_tensor(played.observations.reshape(flat, -1))
    drawn = torch.as_tensor(played.drawn.reshape(flat))
    masks = learners.masks(played.masks.reshape(flat, -1))
    before = torch.as_tensor(played.log_probabilities.reshape(flat))
    weights = torch.as_tensor((advantage / spread).reshape(flat).astype(np.float32))
    for _ in range(EPOCHS):
        _, log_probability, _ = policy.evaluate_actions(observations, drawn, masks)  # type: ignore[arg-type]
        ratio = torch.exp(log_probability - before)
        clipped = ratio.clamp(1 - hyper.clip_range, 1 + hyper.clip_range)
        loss = -torch.min(ratio * weights, clipped * weights).mean()
        policy.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(policy.parameters(), learners.ppo.max_grad_norm)
        policy.optimizer.step()


def _teach_ddpg(learners: Learners, played: Played, corrections: FloatArray, hyper: Hyperparameters) -> None:
    """Replays the corrected transitions, repeated to the buffer's width, and takes the steps that they call for."""
    target = learners.ddpg.replay_buffer
    if target is None:
        raise RuntimeError("the model was not set up")
    rows = np.resize(np.arange(len(played.rates)), target.n_envs)
    codes = np.eye(learners.layout.methods, dtype=np.float32)[played.methods]
    conditioned = np.concatenate((played.observations, codes), axis=2)[:, rows]
    following = np.concatenate((conditioned[1:], conditioned[:1]))
    rewards = [scaled(row, played.gains, hyper) for row in (played.rewards - corrections).astype(np.float32)]
    steps = len(conditioned)
    for step in range(steps):
        ends = np.full(target.n_envs, step + 1 == steps, dtype=np.float32)
        values = 2 * played.values[step][rows] - 1
        target.add(conditioned[step], following[step], values, rewards[step][rows], ends, [])
    learners.ddpg.train(
        gradient_steps=max(steps * target.n_envs // hyper.decisions_per_update, 1), batch_size=hyper.batch
    )
