"""The environment as each of two learners sees it: one chooses methods, the other the three numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.compression_env import CompressionEnv
from envs.observation import Observations

ValueRule = Callable[[Observations, int], NDArray[np.floating]]
MethodRule = Callable[[Observations, NDArray[np.bool_]], int]
Step = tuple[Observations, float, bool, bool, dict[str, Any]]


class DiscreteView(gymnasium.Env[Observations, np.int64]):
    """A `CompressionEnv` whose action is the method alone.

    Args:
        env: the environment.
        values: gives the three numbers for an observation (F,) and the method chosen.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, env: CompressionEnv, values: ValueRule) -> None:
        self.env = env
        self.values = values
        self.observation_space = env.observation_space
        self.action_space = spaces.Discrete(len(env.problem.space.methods))
        self._observation: Observations = np.zeros(env.observer.size, dtype=np.float32)

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which methods the current layer may use, bool (M,)."""
        return self.env.action_masks()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Starts an episode as `CompressionEnv.reset` does."""
        super().reset(seed=seed)
        self._observation, info = self.env.reset(seed=seed, options=options)
        return self._observation, info

    def step(self, action: np.int64) -> Step:
        """Decides one layer; raises as `CompressionEnv.step` does."""
        values = self.values(self._observation, int(action))
        self._observation, reward, terminated, truncated, info = self.env.step({"method": action, "values": values})
        return self._observation, reward, terminated, truncated, info


class ContinuousView(gymnasium.Env[Observations, NDArray[np.float32]]):
    """A `CompressionEnv` whose action is the three numbers; the observation ends with the method as one-hot, (F + M,).

    Args:
        env: the environment.
        method: chooses the method for an observation (F,) and a mask (M,).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, env: CompressionEnv, method: MethodRule) -> None:
        self.env = env
        self.method = method
        self.action_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        size = env.observer.size + len(env.problem.space.methods)
        self.observation_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        self._chosen = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Starts an episode as `CompressionEnv.reset` does."""
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_method(observation, info["action_mask"]), info

    def step(self, action: NDArray[np.float32]) -> Step:
        """Decides one layer; raises as `CompressionEnv.step` does."""
        step = self.env.step({"method": self._chosen, "values": action})
        observation, reward, terminated, truncated, info = step
        mask = np.zeros(len(self.env.problem.space.methods), dtype=np.bool_)
        joined = self._with_method(observation, info.get("action_mask", mask))
        return joined, reward, terminated, truncated, info

    def _with_method(self, observation: Observations, mask: NDArray[np.bool_]) -> Observations:
        """Returns the observation with the chosen method appended, all zeros after the last layer."""
        one_hot = np.zeros(len(mask), dtype=np.float32)
        if mask.any():
            self._chosen = self.method(observation, mask)
            one_hot[self._chosen] = 1.0
        return np.concatenate((observation, one_hot))
