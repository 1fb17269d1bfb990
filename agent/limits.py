"""Limits as numbers that a search can work with: how far plans are from keeping them, and which of them binds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.problem import Metrics, Problem
from plan.assignment import FloatArray
from plan.budget import FLAGS, Budget
from plan.errors import InfeasibleError

COSTS = ("energy_uj", "latency_ms", "size_kb")
TIGHT = 1e-9
"""Relative excess below which a limit counts as kept."""


@dataclass(frozen=True)
class Bounds:
    """Upper bounds on error, energy_uj, latency_ms and size_kb, float64 (4,), infinite where nothing is limited.

    The limit on the drop stands here as the error whose predicted drop reaches it.
    """

    upper: FloatArray

    @classmethod
    def of(cls, problem: Problem, limits: Budget) -> Bounds:
        """Returns the bounds that a problem's calibration makes of limits."""
        finite = np.isfinite(limits.drop_points)
        error = problem.calibration.error_at(limits.drop_points) if finite else np.inf
        return cls(np.array([error, *(getattr(limits, name) for name in COSTS)]))

    @property
    def limited_costs(self) -> tuple[int, ...]:
        """Columns of energy_uj, latency_ms and size_kb that have a limit."""
        return tuple(np.flatnonzero(np.isfinite(self.upper[1:])).tolist())

    def use(self, metrics: Metrics) -> FloatArray:
        """Returns what plans use of each bound, (B, 4): 1 at the bound, 0 where there is none."""
        used = np.column_stack((metrics.error, metrics.costs()))
        return np.where(np.isfinite(self.upper), used / np.maximum(self.upper, 1e-300), 0.0)

    def excess(self, metrics: Metrics) -> FloatArray:
        """Returns by how much plans break the bounds in total, (B,), 0 when all are kept."""
        over = np.maximum(self.use(metrics) - 1.0, 0.0)
        return np.asarray(np.where(over > TIGHT, over, 0.0).sum(axis=1))


def infeasible(problem: Problem, limits: Budget, nearest: Budget) -> InfeasibleError:
    """Returns the error that names the limits in the way and the nearest plan found."""
    binding = ", ".join(f"{FLAGS[name]} {getattr(limits, name):g}" for name in limits.excess(nearest))
    reached = ", ".join(f"{name} {getattr(nearest, name):.4g}" for name in ("drop_points", *COSTS))
    return InfeasibleError(
        f"no plan of {problem.network.name} on {problem.accelerator.name} keeps {binding}; "
        f"the nearest plan has {reached}; raise that limit"
    )
