"""Many episodes at once, as a Gymnasium vector environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.compression_env import action_space, observation_space
from envs.episodes import Episodes, Outcome
from envs.observation import Observations, Observer, build_observer
from envs.problem import Problem
from envs.reward import draw_rates
from plan.assignment import FloatArray
from plan.errors import InvalidValueError

Step = tuple[Observations, FloatArray, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class VectorCompressionEnv(VectorEnv[Observations, dict[str, NDArray[Any]], NDArray[Any]]):
    """Plans of one problem, decided layer by layer in lockstep: every episode has as many steps as there are layers.

    Action: {"method": (B,) integers, "values": (B, 3) in [0, 1]}; `action_masks()` says which methods are legal.
    Observation and reward: `envs.observation`, `envs.reward`. Exchange rates are drawn anew for every episode unless
    `set_rates` fixed them. Autoreset in the same step: the observation that comes with `terminated` is the first of
    the next episode, and infos then hold `choices` (B, L, 4), `metrics`, `rates` (B,) and `conditions` of the ended
    episodes and `final_obs` (zeros).

    Version History: v0, the first.

    Args:
        problem: what is decided.
        num_envs: episodes side by side, B.
        seed: of the exchange rates, used by the first `reset` that is given none.
        observer: of the same problem, to share it between environments; built when None.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, problem: Problem, num_envs: int, seed: int | None = None, observer: Observer | None = None):
        if num_envs < 1:
            raise InvalidValueError(f"num_envs {num_envs} is too few (allowed: 1 or more)")
        self.problem = problem
        self.num_envs = num_envs
        self.observer = observer or build_observer(problem)
        self.episodes = Episodes(self.observer, num_envs)
        self.single_observation_space = observation_space(self.observer)
        self.single_action_space = action_space(problem)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._first_seed = seed
        self._fixed_rates: FloatArray | None = None

    def set_rates(self, rates: FloatArray | None) -> None:
        """Fixes the exchange rates (B,) of all episodes from the next reset on, or draws them again when None."""
        self._fixed_rates = None if rates is None else np.array(rates, dtype=np.float64)

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which methods the current layer may use in every plan, bool (B, M)."""
        return self.episodes.state.mask

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Starts all episodes.

        Args:
            seed: of what is drawn.
            options: for these episodes only, `rates` (B,), `mixes` (B,), rows of `envs.conditions.MIXES` that the
                observer was built for, and `limits` (B, 4) on energy_uj, latency_ms, size_kb and error.
        """
        super().reset(seed=self._first_seed if seed is None else seed)
        self._first_seed = None
        given = options or {}
        rates = given.get("rates")
        rates = self._rates() if rates is None else np.asarray(rates, dtype=np.float64)
        observations = self.episodes.begin(rates, given.get("mixes"), given.get("limits"))
        return observations, {"rates": self.episodes.state.conditions.rates}

    def step(self, actions: dict[str, NDArray[Any]]) -> Step:
        """Decides one layer of every plan.

        Raises:
            IllegalChoiceError: a masked method.
            InvalidValueError: values outside [0, 1], wrong shapes, or no reset before.
        """
        observations, rewards = self.episodes.step(np.asarray(actions["method"]), np.asarray(actions["values"]))
        outcome: Outcome | None = self.episodes.outcome
        ended = np.full(self.num_envs, outcome is not None)
        infos: dict[str, Any] = {}
        if outcome is not None:
            final = observations
            observations = self.episodes.begin(self._rates())
            infos = {
                "final_obs": final,
                "choices": outcome.choices,
                "metrics": outcome.metrics,
                "rates": outcome.rates,
                "conditions": outcome.conditions,
            }
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def _rates(self) -> FloatArray:
        return draw_rates(self.np_random, self.num_envs) if self._fixed_rates is None else self._fixed_rates
