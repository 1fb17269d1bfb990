"""The vector env as stable-baselines3 wants it: a `VecEnv` over the same problem, without dynamics of its own."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from envs.draws import Draws
from envs.episodes import Outcome
from envs.observation import Observer, build_observer
from envs.problem import Problem
from envs.vector_env import VectorCompressionEnv

Actions = dict[str, NDArray[Any]]
Step = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]


class CompressionVecEnv(VecEnv):
    """Lockstep episodes of a `VectorCompressionEnv` behind the interface of stable-baselines3.

    Actions are {"method": (B,) int, "values": (B, 3) float32}. All episodes end together; the last step's infos hold
    `terminal_observation` and `choices` (L, 4), and the observation is the first of the next episode.

    Attributes:
        core: the env that does the work.
        draws: what episodes are played for.
        outcome: the episodes that ended last, None before any did.
    """

    def __init__(
        self,
        problem: Problem,
        num_envs: int,
        seed: int,
        observer: Observer | None = None,
        draws: Draws = Draws(),  # noqa: B008 - frozen
    ) -> None:
        self.core = VectorCompressionEnv(problem, num_envs, seed, observer or build_observer(problem, draws.mixes))
        self.core.reset()
        self.outcome: Outcome | None = None
        self.draws = draws
        self._actions: Actions = {}
        super().__init__(num_envs, self.core.single_observation_space, self.core.single_action_space)

    @property
    def layers(self) -> int:
        """Steps of an episode, L."""
        return self.core.problem.space.n_layers

    def reset(self) -> NDArray[np.float32]:
        """Starts an episode in every env, its conditions drawn anew, and returns the first observations, (B, F)."""
        if self._seeds[0] is not None:
            self.core.reset(seed=self._seeds[0])
            self._reset_seeds()
        drawn = self.draws.draw(self.core.np_random, self.core.observer, self.num_envs)
        return self.core.reset(options={"rates": drawn.rates, "mixes": drawn.mixes, "limits": drawn.limits})[0]

    def step_async(self, actions: Actions) -> None:  # type: ignore[override]
        """Keeps the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Step:
        """Returns observations (B, F), rewards (B,), whether the episodes ended (B,), and one info per env."""
        observations, rewards, ended, _, infos = self.core.step(self._actions)
        told = self._infos(infos)
        return self.reset() if ended.any() else observations, rewards.astype(np.float32), ended, told

    def act(self, methods: NDArray[np.int64], values: NDArray[np.float32]) -> Step:
        """Returns what `step` does, for the two parts of an action."""
        self.step_async({"method": methods, "values": values})
        return self.step_wait()

    def _infos(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        if "choices" not in infos:
            return [{}] * self.num_envs
        self.outcome = Outcome(infos["choices"], infos["metrics"], infos["conditions"])
        pairs = zip(infos["final_obs"], infos["choices"], strict=True)
        return [{"terminal_observation": last, "choices": choices} for last, choices in pairs]

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which methods each env may take now, (B, M)."""
        return self.core.action_masks()

    def gains(self) -> NDArray[np.float64]:
        """Returns what an episode at each env's exchange rate earns if every layer follows its hints, (B,)."""
        return self.core.observer.hints.gains[self.core.episodes.state.rows]

    def random_state(self) -> dict[str, Any]:
        """Returns where the generator of exchange rates stands, as JSON values."""
        return copy.deepcopy(dict(self.core.np_random.bit_generator.state))

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Continues at a state that `random_state` returned, from the next reset on."""
        self._reset_seeds()
        self.core.np_random.bit_generator.state = state

    def close(self) -> None:
        """Closes the core."""
        self.core.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the core, once per env asked for."""
        return [getattr(self.core, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the core, which all envs share."""
        setattr(self.core, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the core once; `action_masks` gives a row per env, any other result is repeated."""
        result = getattr(self.core, method_name)(*method_args, **method_kwargs)
        return [result[env] if method_name == "action_masks" else result for env in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Returns False for every env: the core is never wrapped."""
        return [False for _ in self._get_indices(indices)]
