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
from sb3_contrib.common.maskable.distributions import MaybeMasks
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

from agent.hints import EDGE, HintLayout

MASKED_LOGIT = -1e8


@dataclass(frozen=True)
class Start:
    """Where the learners begin: hinted (with the sharpness of the first policy), or nowhere in particular.

    Networks that do not train have no optimisers. Where entropy is not rewarded it is only told, without gradients.
    """

    layout: HintLayout
    warm: bool
    sharpness: float
    trains: bool = True
    rewards_entropy: bool = False

    @property
    def optimizer(self) -> type[torch.optim.Optimizer]:
        """The class of the optimisers."""
        return torch.optim.Adam if self.trains else Idle

    @property
    def optimizer_settings(self) -> dict[str, Any]:
        """What the optimisers are made with: one fused kernel a step instead of a dozen small ones per parameter."""
        return {"fused": True} if self.trains else {}


class Idle(torch.optim.Optimizer):
    """Stands in for the optimiser of networks that only act; the real ones take seconds to import what they need."""

    def __init__(self, parameters: Any, lr: float, **_: Any) -> None:
        """Keeps nothing."""


def drawn_from(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Returns one column for every row of log probabilities (B, M), int64 (B,), by inverting the cumulated ones.

    Columns without probability are never drawn. It draws B numbers from torch's global stream.
    """
    cumulated = log_probabilities.exp().cumsum(dim=1)
    total = cumulated[:, -1:]
    passed = (cumulated <= torch.rand_like(total) * total) & (cumulated < total)
    return passed.sum(dim=1)


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
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=hidden,
            optimizer_class=start.optimizer,
            optimizer_kwargs=start.optimizer_settings,
        )

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = HintedExtractor(self.features_dim, self.hidden, self.start.layout, self.device)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if self.start.warm:
            weight = torch.zeros(self.action_net.out_features, self.action_net.in_features)
            weight[:, -self.start.layout.methods :] = -self.start.sharpness * torch.eye(self.start.layout.methods)
            self.action_net.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False, action_masks: MaybeMasks = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns methods (B,), values of the observations (B, 1) and the methods' log probabilities (B,)."""
        log_p, values = self._judge(obs, action_masks)
        drawn = log_p.argmax(dim=1) if deterministic else drawn_from(log_p)
        return drawn, values, log_p.gather(1, drawn[:, None])[:, 0]

    def evaluate_actions(
        self, obs: torch.Tensor, actions: torch.Tensor, action_masks: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns values (B, 1), log probabilities (B,) of methods (B,), and entropies (B,)."""
        log_p, values = self._judge(obs, action_masks)
        with torch.set_grad_enabled(self.start.rewards_entropy):
            entropy = -(log_p.exp() * log_p).sum(dim=1)
        return values, log_p.gather(1, actions[:, None])[:, 0], entropy

    def _judge(self, obs: torch.Tensor, masks: MaybeMasks) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns log probabilities of all methods (B, M), about -1e8 where masked, and values (B, 1).

        What `MaskableCategorical` computes, without its objects: they took a tenth of the time of training.
        """
        latent_pi, latent_vf = self.mlp_extractor(obs)
        logits = self.action_net(latent_pi)
        if masks is not None:
            legal = torch.as_tensor(masks).to(torch.bool).reshape(logits.shape)
            logits = logits.masked_fill(~legal, MASKED_LOGIT)
        return torch.log_softmax(logits, dim=1), self.value_net(latent_vf)


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
        return self.act(obs, self.start.layout.actions_of(obs))

    def act(self, obs: torch.Tensor, hinted: torch.Tensor) -> torch.Tensor:
        """Returns the values (B, 3) for conditioned observations (B, F + M) and their hinted actions (B, 3)."""
        if not self.start.warm:
            return torch.tanh(self.mu[:-1](obs))
        return torch.tanh(torch.atanh(hinted.clamp(-EDGE, EDGE)) + self.mu[:-1](obs))


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
        return self.judge(obs, self.start.layout.actions_of(obs), actions)

    def judge(self, obs: torch.Tensor, hinted: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns the estimates for observations whose hinted actions (B, 3) are known."""
        offset = actions - hinted
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
            optimizer_kwargs=start.optimizer_settings,
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
