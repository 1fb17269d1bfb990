"""One episode at a time, as a Gymnasium environment: a batch of one over the same dynamics."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.episodes import Episodes
from envs.observation import Observations, Observer, build_observer
from envs.problem import Problem
from envs.reward import draw_rates
from envs.toy import toy_problem

Action = dict[str, Any]


def observation_space(observer: Observer) -> spaces.Space[Observations]:
    """Returns the space of one observation, float32 (F,) in [-1, 1]."""
    return spaces.Box(-1.0, 1.0, (observer.size,), np.float32)


def action_space(problem: Problem) -> spaces.Dict:
    """Returns the space of one decision: a method and three numbers in [0, 1]."""
    parts: dict[str, spaces.Space[Any]] = {
        "method": spaces.Discrete(len(problem.space.methods)),
        "values": spaces.Box(0.0, 1.0, (3,), np.float32),
    }
    return spaces.Dict(parts)


class CompressionEnv(gymnasium.Env[Observations, Action]):
    """A plan, decided layer by layer; registered as `espalier/Compression-v0`.

    Action: {"method": index, "values": (3,) in [0, 1] for density, weight bits and activation bits}. Infos hold
    `action_mask` (M,), and at the end `choices` (L, 4) and `metrics`. The exchange rate of an episode is drawn
    log-uniformly unless `reset(options={"rate": ...})` gives it; `mix` (a row of `envs.conditions.MIXES`) and `limits`
    (energy_uj, latency_ms, size_kb, error) may be given beside it.

    Version History: v0, the first.

    Args:
        problem: what is decided; the built-in toy problem when None.
        observer: of the same problem, to share it between environments; built when None.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, problem: Problem | None = None, observer: Observer | None = None) -> None:
        self.problem = toy_problem() if problem is None else problem
        self.observer = observer or build_observer(self.problem)
        self.episodes = Episodes(self.observer, 1)
        self.observation_space: spaces.Space[Observations] = observation_space(self.observer)
        self.action_space = action_space(self.problem)

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which methods the current layer may use, bool (M,)."""
        mask: NDArray[np.bool_] = self.episodes.state.mask[0]
        return mask

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Starts an episode; options may hold its exchange `rate`, its `mix` and its `limits` (4,)."""
        super().reset(seed=seed)
        given = options or {}
        rate, mix, limits = (given.get(name) for name in ("rate", "mix", "limits"))
        rates = draw_rates(self.np_random, 1) if rate is None else np.array([rate], dtype=np.float64)
        mixes = None if mix is None else np.array([mix])
        observation = self.episodes.begin(rates, mixes, None if limits is None else np.asarray(limits)[None])[0]
        return observation, {"action_mask": self.action_masks()}

    def step(self, action: Action) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Decides one layer.

        Raises:
            IllegalChoiceError: a masked method.
            InvalidValueError: values outside [0, 1], or no episode under way.
        """
        method, values = np.asarray(action["method"])[None], np.asarray(action["values"])[None]
        observations, rewards = self.episodes.step(method, values)
        outcome = self.episodes.outcome
        if outcome is None:
            return observations[0], float(rewards[0]), False, False, {"action_mask": self.action_masks()}
        metrics = {name: float(getattr(outcome.metrics, name)[0]) for name in outcome.metrics.__dataclass_fields__}
        return observations[0], float(rewards[0]), True, False, {"choices": outcome.choices[0], "metrics": metrics}
