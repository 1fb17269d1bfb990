"""DDPG for the continuous part of a decision whose discrete part another policy takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3 import DDPG
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update, update_learning_rate
from torch import nn
from torch.nn import functional

from agent.hints import HintLayout
from agent.policies import ValuesActor, ValuesCritic

Conditioner = Callable[[torch.Tensor], torch.Tensor]
"""Turns observations (B, F) into conditioned ones (B, F + M) by drawing a method for each from the current policy."""


class ConditionedDDPG(DDPG):
    """DDPG on observations that carry a chosen method; replayed targets draw the next method anew.

    The method that followed in the replayed episode belongs to an old policy, so the target asks the current one.

    Attributes:
        conditioner: draws the next method; must be set before training.
        layout: where observations hold the hints.
        anchor: weight of the squared distance from the hinted actions in the actor's loss; without it the actor
            follows the critic's errors away from them.
        actor_learning_rate: of the actor; the critic's is the model's.
        actor_starts: gradient steps of the critic alone before the actor moves.
        max_grad_norm: gradients of either network are clipped to this norm.
    """

    actor: ValuesActor
    critic: ValuesCritic
    conditioner: Conditioner
    layout: HintLayout
    anchor: float = 0.0
    actor_learning_rate: float = 1e-4
    actor_starts: int = 0
    max_grad_norm: float = 1.0

    def train(self, gradient_steps: int, batch_size: int = 256) -> None:
        """Takes gradient steps on replayed transitions: critic, actor and, where the future counts, both targets."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.critic.optimizer)
        update_learning_rate(self.actor.optimizer, self.actor_learning_rate)
        losses = [self._step(batch_size) for _ in range(gradient_steps)]
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/critic_loss", float(np.mean([critic for critic, _ in losses])))
        moved = [actor for _, actor in losses if actor is not None]
        if moved:
            self.logger.record("train/actor_loss", float(np.mean(moved)))

    def _step(self, batch_size: int) -> tuple[float, float | None]:
        """Returns the losses of critic and actor on one batch, None for an actor that does not move yet."""
        self._n_updates += 1
        if self.replay_buffer is None:
            raise RuntimeError("the model was not set up")
        data = self.replay_buffer.sample(batch_size)
        hinted = self.layout.actions_of(data.observations)
        judged = self.critic.judge(data.observations, hinted, data.actions)[0]
        critic_loss = functional.smooth_l1_loss(judged, self._target(data))
        self._descend(critic_loss, self.critic.optimizer)
        actor_loss = self._move_actor(data.observations, hinted) if self._n_updates > self.actor_starts else None
        if self.gamma > 0.0:
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)
        return critic_loss.item(), actor_loss

    def _move_actor(self, observations: torch.Tensor, hinted: torch.Tensor) -> float:
        """Takes a step of the actor, held near the hinted actions (B, 3), and returns its loss."""
        actions = self.actor.act(observations, hinted)
        loss = self.anchor * (actions - hinted).square().sum(dim=1).mean()
        loss = loss - self.critic.judge(observations, hinted, actions)[0].mean()
        self._descend(loss, self.actor.optimizer)
        return loss.item()

    @torch.no_grad()
    def _target(self, data: ReplayBufferSamples) -> torch.Tensor:
        """Returns what the critic should say of replayed transitions, (B, 1).

        Without a discount that is the reward alone, and nobody need be asked what comes next.
        """
        rewards: torch.Tensor = data.rewards
        if self.gamma == 0.0:
            return rewards
        following = self.conditioner(data.next_observations[:, : self.layout.features])
        next_value: torch.Tensor = self.critic_target(following, self.actor_target(following))[0]
        return rewards + (1 - data.dones) * self.gamma * next_value

    def _descend(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Takes one step of one network: a loss that runs through the other leaves that one's gradients empty."""
        parameters: list[nn.Parameter] = optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        optimizer.step()
