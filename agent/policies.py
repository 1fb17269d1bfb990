"""The networks of the two learners. Each starts at the hints and learns what to change about them.

The method head's logits begin at -sharpness x hinted score; the values head begins at the hinted values of the method
chosen. Without a warm start both begin as stable-baselines3 makes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

from agent.hints import HintLayout

EDGE = 0.98
"""Hinted values are kept this far inside (-1, 1), so that the squashed output can still move away from them."""


@dataclass(frozen=True)
class Start:
    """Where the learners begin: hinted (with the sharpness of the first policy), or nowhere in particular.

    Networks that do not train have no optimisers.
    """

    layout: HintLayout
    warm: bool
    sharpness: float
    trains: bool = True

    @property
    def optimizer(self) -> type[torch.optim.Optimizer]:
        """The class of the optimisers."""
        return torch.optim.Adam if self.trains else Idle


class Idle(torch.optim.Optimizer):
    """Stands in for the optimiser of networks that only act; the real ones take seconds to import what they need."""

    def __init__(self, parameters: Any, lr: float, **_: Any) -> None:
        """Keeps nothing."""


class HintedExtractor(MlpExtractor):
    """Hidden layers for method and value; the hinted scores reach the method head around them."""

    def __init__(self, features: int, hidden: list[int], layout: HintLayout, device: torch.device) -> None:
        super().__init__(features, net_arch={"pi": hidden, "vf": hidden}, activation_fn=nn.Tanh, device=device)
        self.layout = layout
        self.latent_dim_pi += layout.methods

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        """Returns hidden features followed by the hinted scores, (B, hidden + M)."""
        return torch.cat([self.policy_net(features), self.layout.scores_of(features)], dim=1)


class MethodPolicy(MaskableActorCriticPolicy):
    """Masked distribution over methods and the value of an observation."""

    mlp_extractor: HintedExtractor
    action_net: nn.Linear

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        hidden: list[int],
        start: Start,
    ) -> None:
        self.hidden = hidden
        self.start = start
        super().__init__(observation_space, action_space, lr_schedule, net_arch=hidden, optimizer_class=start.optimizer)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = HintedExtractor(self.features_dim, self.hidden, self.start.layout, self.device)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self.start.warm:
            weight = torch.zeros(self.action_net.out_features, self.action_net.in_features)
            weight[:, -self.start.layout.methods :] = -self.start.sharpness * torch.eye(self.start.layout.methods)
            self.action_net.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})


class ValuesActor(Actor):
    """Density, weight bits and activation bits in [-1, 1] for an observation and the method chosen."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        *,
        hidden: list[int],
        features_extractor: BaseFeaturesExtractor,
        start: Start,
    ) -> None:
        size = features_extractor.features_dim
        super().__init__(observation_space, action_space, hidden, features_extractor, size, nn.Tanh)
        self.start = start
        if start.warm:
            self._zero_output()

    def _zero_output(self) -> None:
        last = next(module for module in reversed(self.mu) if isinstance(module, nn.Linear))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Returns the values (B, 3) for conditioned observations (B, F + M)."""
        if not self.start.warm:
            return torch.tanh(self.mu[:-1](obs))
        hinted = (2 * self.start.layout.values_of(obs) - 1).clamp(-EDGE, EDGE)
        return torch.tanh(torch.atanh(hinted) + self.mu[:-1](obs))


class ValuesCritic(ContinuousCritic):
    """Value of a conditioned observation and an action; the action also enters by its distance from the hint."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        *,
        hidden: list[int],
        features_extractor: BaseFeaturesExtractor,
        start: Start,
    ) -> None:
        size = features_extractor.features_dim + 2 * math.prod(action_space.shape)
        super().__init__(
            observation_space,
            action_space,
            hidden,
            features_extractor,
            size,
            n_critics=1,
            share_features_extractor=False,
        )
        self.start = start

    def forward(self, obs: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns one estimate (B, 1) per critic network."""
        offset = actions - (2 * self.start.layout.values_of(obs) - 1)
        joined = torch.cat([obs, offset, offset.square(), actions], dim=1)
        return tuple(network(joined) for network in self.q_networks)

    def q1_forward(self, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Returns the first network's estimate, (B, 1)."""
        first: torch.Tensor = self.forward(obs, actions)[0]
        return first


class ValuesPolicy(TD3Policy):
    """Actor and critic, each with its target, as DDPG trains them."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        hidden: list[int],
        start: Start,
        n_critics: int = 1,
    ) -> None:
        self.hidden = hidden
        self.start = start
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=hidden,
            n_critics=n_critics,
            optimizer_class=start.optimizer,
        )

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> ValuesActor:
        """Returns a new actor."""
        return ValuesActor(
            self.observation_space,
            self._box(),
            hidden=self.hidden,
            features_extractor=features_extractor or self.make_features_extractor(),
            start=self.start,
        ).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ValuesCritic:
        """Returns a new critic."""
        return ValuesCritic(
            self.observation_space,
            self._box(),
            hidden=self.hidden,
            features_extractor=features_extractor or self.make_features_extractor(),
            start=self.start,
        ).to(self.device)

    def _box(self) -> spaces.Box:
        shape = self.action_space.shape or ()
        return spaces.Box(-1.0, 1.0, shape, dtype=np.float32)
