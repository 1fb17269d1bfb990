"""What an episode is played for: an exchange rate, the weights of the objective, and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.problem import Problem
from plan.assignment import FloatArray, IntArray
from plan.errors import InvalidValueError

MIXES = np.array(
    [
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
        (0.5, 0.5, 0.0),
        (0.5, 0.0, 0.5),
        (0.0, 0.5, 0.5),
        (1 / 3, 1 / 3, 1 / 3),
    ]
)
"""Weights of energy, latency and size in the objective of an episode, their weighted geometric mean."""
LIMIT_PRICE = 2.0
"""What twice a limit costs, in units of what the hints gain at the episode's rate."""


@dataclass(frozen=True)
class Conditions:
    """What B episodes are played for.

    Attributes:
        rates: (B,) exchange rates of error against objective, positive.
        mixes: int64 (B,), rows of `MIXES`.
        limits: float64 (B, 4) on energy_uj, latency_ms, size_kb and error, infinite where there is none.
    """

    rates: FloatArray
    mixes: IntArray
    limits: FloatArray

    @classmethod
    def of(
        cls, problem: Problem, rates: FloatArray, mixes: IntArray | None = None, limits: FloatArray | None = None
    ) -> Conditions:
        """Returns conditions at exchange rates; by default the problem's own objective and no limits.

        Raises:
            InvalidValueError: arrays of other shapes, rates that are not positive or not finite, unknown mixes.
        """
        count = len(rates)
        if np.ndim(rates) != 1 or not (np.isfinite(rates) & (np.asarray(rates) > 0)).all():
            raise InvalidValueError(f"exchange rates must be {count} positive numbers, found {rates!r}")
        chosen = np.full(count, own_mix(problem)) if mixes is None else np.asarray(mixes, dtype=np.int64)
        upper = np.full((count, 4), np.inf) if limits is None else np.asarray(limits, dtype=np.float64)
        if chosen.shape != (count,) or not ((chosen >= 0) & (chosen < len(MIXES))).all():
            raise InvalidValueError(f"mixes must be {count} rows of MIXES (0 to {len(MIXES) - 1}), found {mixes!r}")
        if upper.shape != (count, 4) or not (upper > 0).all():
            raise InvalidValueError(f"limits must be positive, ({count}, 4), found {limits!r}")
        return cls(np.asarray(rates, dtype=np.float64), chosen, upper)

    def __len__(self) -> int:
        return len(self.rates)

    def excess(self, totals: FloatArray) -> FloatArray:
        """Returns by which share totals (B, 4) exceed the limits, summed over them, (B,)."""
        return np.asarray(np.maximum(totals / self.limits - 1.0, 0.0).sum(axis=1))


def own_mix(problem: Problem) -> int:
    """Returns the row of `MIXES` that stands for a problem's objective."""
    weights = problem.weights / problem.weights.sum()
    return int(np.abs(MIXES - weights).sum(axis=1).argmin())


def mixes_within(problem: Problem, costs: Sequence[int]) -> tuple[int, ...]:
    """Returns the rows of `MIXES` that weigh the problem's objective together with some of the costs given, alone.

    Args:
        problem: gives the objective.
        costs: columns of energy_uj, latency_ms, size_kb.
    """
    own = MIXES[own_mix(problem)] > 0
    allowed = own.copy()
    allowed[list(costs)] = True
    weighed = MIXES > 0
    rows = (weighed & own).any(axis=1) & (weighed <= allowed).all(axis=1)
    return tuple(np.flatnonzero(rows).tolist())


def mixed_objective(problem: Problem, costs: FloatArray, mixes: IntArray) -> FloatArray:
    """Returns the weighted geometric mean of costs (B, 3) relative to the baseline, (B,), under mixes (B,)."""
    share = np.maximum(costs / problem.baseline.costs()[0], 0.0)
    return np.asarray((share ** MIXES[mixes]).prod(axis=1))
