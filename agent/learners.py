"""The two learners of a composite agent acting as one, without envs of their own: the agent collects for both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from torch.nn import functional

from agent.conditioned_ddpg import ConditionedDDPG
from agent.hints import HintLayout
from agent.hyperparameters import Hyperparameters
from agent.interface import Interface
from agent.policies import MethodPolicy, Start, ValuesPolicy
from agent.replay import Replay

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Decision:
    """What both learners decided for B observations.

    Attributes:
        methods: int64 (B,), legal.
        drawn: int64 (B,), as PPO drew them; others than `methods` only where PPO is not masked.
        values: float32 (B, 3) in [0, 1].
        state_values, log_probabilities: (B, 1) and (B,), of PPO.
    """

    methods: NDArray[np.int64]
    drawn: NDArray[np.int64]
    values: FloatArray
    state_values: torch.Tensor
    log_probabilities: torch.Tensor


@dataclass(frozen=True)
class Noise:
    """Gaussian exploration of the values of a share of all decisions, deviations in units of [-1, 1]."""

    share: float
    density: float
    bits: float

    def added(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns actions (B, 3) with noise from the global random state."""
        deviation = torch.tensor([self.density, self.bits, self.bits])
        explored = torch.rand(len(actions), 1) < self.share
        return (actions + explored * deviation * torch.randn_like(actions)).clamp(-1, 1)


@dataclass(frozen=True)
class Learners:
    """PPO over methods, and DDPG over density and bits, which reads PPO's method."""

    ppo: MaskablePPO
    ddpg: ConditionedDDPG
    layout: HintLayout
    masked: bool = True

    def masks(self, legal: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns the masks that PPO draws under, (B, M), for flags of legality."""
        return legal if self.masked else np.ones_like(legal)

    def decide(
        self, observations: FloatArray, masks: NDArray[np.bool_], *, deterministic: bool, noise: Noise | None = None
    ) -> Decision:
        """Returns a method and values for every observation.

        Args:
            observations: (B, F).
            masks: (B, M), legal methods.
            deterministic: take the most likely method instead of a drawn one.
            noise: exploration added to the values, none when None.
        """
        inputs = torch.as_tensor(observations)
        with torch.no_grad():
            drawn, values, log_probabilities = self.ppo.policy(inputs, deterministic, self.masks(masks))
            legal = torch.as_tensor(masks)[torch.arange(len(drawn)), drawn]
            methods = torch.where(legal, drawn, 0)
            actions = self.ddpg.actor(self.conditioned(inputs, methods))
            if noise is not None:
                actions = noise.added(actions)
        unit = (actions.numpy() + 1) / 2
        return Decision(methods.numpy(), drawn.numpy(), unit, values, log_probabilities)

    def conditioned(self, observations: torch.Tensor, methods: torch.Tensor) -> torch.Tensor:
        """Returns observations with the methods' one-hot codes behind them, (B, F + M)."""
        codes = functional.one_hot(methods, self.layout.methods).to(observations.dtype)
        return torch.cat([observations, codes], dim=1)

    def with_next_methods(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns observations with methods behind them that the current PPO policy draws, (B, F + M)."""
        legal = self.layout.mask_of(observations)
        masks = legal if self.masked else torch.ones_like(legal)
        drawn = self.ppo.policy.get_distribution(observations, masks).sample()  # type: ignore[arg-type]
        taken = legal.gather(1, drawn[:, None])[:, 0]
        return self.conditioned(observations, torch.where(taken, drawn, 0))


def episodes_per_rollout(interface: Interface, hyper: Hyperparameters) -> int:
    """Returns how many episodes every env plays between two updates, at least one."""
    return max(round(hyper.rollout_decisions / (interface.layers * interface.num_envs)), 1)


def make_learners(interface: Interface, hyper: Hyperparameters, *, trains: bool = True) -> Learners:
    """Returns both learners, their networks initialised from the global random state.

    Args:
        interface: shapes of observations and actions.
        hyper: settings of both.
        trains: False for networks that only act, without optimisers.
    """
    start = Start(interface.layout, hyper.warm_start, hyper.sharpness, trains, rewards_entropy=hyper.entropy > 0)
    ppo, ddpg = _make_ppo(interface, hyper, start), _make_ddpg(interface, hyper, start)
    learners = Learners(ppo, ddpg, interface.layout, hyper.masked)
    learners.ddpg.conditioner = learners.with_next_methods
    return learners


def _make_ppo(interface: Interface, hyper: Hyperparameters, start: Start) -> MaskablePPO:
    ppo = MaskablePPO(
        MethodPolicy,
        None,  # type: ignore[arg-type]
        learning_rate=hyper.learning_rate,
        n_steps=episodes_per_rollout(interface, hyper) * interface.layers,
        batch_size=hyper.minibatch,
        n_epochs=hyper.epochs,
        gamma=hyper.gamma,
        gae_lambda=hyper.gae_lambda,
        clip_range=hyper.clip_range,
        ent_coef=hyper.entropy,
        target_kl=hyper.target_kl,
        policy_kwargs={"hidden": [hyper.hidden, hyper.hidden], "start": start},
        device="cpu",
        _init_setup_model=False,
    )
    ppo.observation_space = interface.observation_space
    ppo.action_space = interface.method_space
    ppo.n_envs = interface.num_envs
    ppo._setup_model()
    return ppo


def _make_ddpg(interface: Interface, hyper: Hyperparameters, start: Start) -> ConditionedDDPG:
    ddpg = ConditionedDDPG(
        ValuesPolicy,
        None,  # type: ignore[arg-type]
        learning_rate=hyper.values_learning_rate,
        buffer_size=hyper.replay_decisions,
        batch_size=hyper.batch,
        tau=hyper.tau,
        gamma=hyper.values_gamma,
        replay_buffer_class=Replay,
        replay_buffer_kwargs={"handle_timeout_termination": False, "looks_ahead": hyper.values_gamma > 0},
        optimize_memory_usage=True,
        policy_kwargs={"hidden": [hyper.hidden, hyper.hidden], "start": start},
        device="cpu",
        _init_setup_model=False,
    )
    ddpg.observation_space = interface.conditioned_space
    ddpg.action_space = interface.values_space
    ddpg.n_envs = interface.num_envs
    ddpg.layout = interface.layout
    ddpg.anchor = hyper.anchor if hyper.warm_start else 0.0
    ddpg.actor_starts = hyper.actor_starts
    ddpg.actor_learning_rate = hyper.actor_learning_rate
    ddpg._setup_model()
    return ddpg
