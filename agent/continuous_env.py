"""The vector env for one continuous learner: four numbers per layer, zero of which follows the hints.

An action a in [-1, 1]^4 means: the legal methods stand in a row, best hinted score first, and a0^2 picks one in bins of
equal width; density and bits are the hinted values of that method plus half of a1, a2, a3, cut to [0, 1]. So a learner
that starts at zero starts at the additive table, as the composite agent does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn, VecEnvWrapper

from agent.hints import HintLayout
from agent.hyperparameters import Hyperparameters
from agent.rollout import scaled
from agent.sb3_vec import CompressionVecEnv

FloatArray = NDArray[np.float32]
ACTION_SIZE = 4
REACH = 0.5
"""Share of [0, 1] by which an action of 1 moves a value away from its hint."""


def decoded(layout: HintLayout, observations: FloatArray, actions: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Returns methods (B,) and values (B, 3) in [0, 1] for observations (B, F) and actions (B, 4) in [-1, 1]."""
    seen = torch.as_tensor(observations)
    mask = layout.mask_of(seen).numpy()
    scores = np.where(mask, layout.scores_of(seen).numpy(), np.inf)
    order = np.argsort(scores, axis=1, kind="stable")
    counts = mask.sum(axis=1)
    rank = np.minimum((np.square(actions[:, 0]) * counts).astype(np.int64), counts - 1)
    methods = order[np.arange(len(order)), rank]
    codes = np.eye(layout.methods, dtype=np.float32)[methods]
    hinted = layout.values_of(torch.as_tensor(np.concatenate((observations, codes), axis=1))).numpy()
    values: FloatArray = np.clip(hinted + REACH * actions[:, 1:], 0.0, 1.0).astype(np.float32)
    return methods, values


class ContinuousVecEnv(VecEnvWrapper):
    """A `CompressionVecEnv` with actions as the module says, rewards scaled as the composite agent scales them.

    Args:
        env: the env.
        hyper: its reward scale.
    """

    venv: CompressionVecEnv

    def __init__(self, env: CompressionVecEnv, hyper: Hyperparameters) -> None:
        super().__init__(env, action_space=spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32))
        self.layout = HintLayout.of(env.core.observer)
        self.hyper = hyper
        self._observations: FloatArray = np.empty((0, 0), dtype=np.float32)
        self._gains = env.gains()

    def reset(self) -> FloatArray:
        """Starts an episode in every env and returns the first observations, (B, F)."""
        self._observations = self.venv.reset()
        self._gains = self.venv.gains()
        return self._observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Translates actions (B, 4) and keeps them for `step_wait`."""
        methods, values = decoded(self.layout, self._observations, actions)
        self.venv.step_async({"method": methods, "values": values})

    def step_wait(self) -> VecEnvStepReturn:
        """Returns what the env returns, rewards scaled."""
        observations, rewards, ended, infos = self.venv.step_wait()
        told = scaled(rewards, self._gains, self.hyper)
        self._observations, self._gains = observations, self.venv.gains()
        return observations, told, ended, infos
