"""The replay buffer of a learner that may not look ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize


class Replay(ReplayBuffer):
    """Stores transitions as its parent does; without a discount it leaves out what followed when it is sampled.

    Attributes:
        looks_ahead: whether samples hold the following observations; without, those are empty.
    """

    def __init__(self, *arguments: Any, looks_ahead: bool = True, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.looks_ahead = looks_ahead

    def _get_samples(self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None) -> ReplayBufferSamples:
        if self.looks_ahead:
            return super()._get_samples(batch_inds, env)
        which = np.random.randint(0, self.n_envs, size=len(batch_inds))  # noqa: NPY002 - as its parent draws
        rows = batch_inds * self.n_envs + which
        observations = self.observations.reshape(-1, self.observations.shape[-1])
        return ReplayBufferSamples(
            observations=self.to_torch(observations.take(rows, axis=0), copy=False),
            actions=self.to_torch(self.actions.reshape(-1, self.action_dim).take(rows, axis=0), copy=False),
            next_observations=self.to_torch(observations[:0], copy=False),
            dones=self.to_torch(self.dones.reshape(-1, 1).take(rows, axis=0), copy=False),
            rewards=self.to_torch(self.rewards.reshape(-1, 1).take(rows, axis=0), copy=False),
        )
