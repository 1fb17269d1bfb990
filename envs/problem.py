"""The problem that every searcher solves, and the only place where a choice gets a score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.table import AdditiveTable, build_table
from hwmodels.accelerator import Accelerator
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.cells import cells_near
from plan.errors import UnknownNameError
from plan.layer import Network
from plan.space import Choices, Space

Objective = Literal["energy", "latency", "edp", "size"]
OBJECTIVE_WEIGHTS: dict[Objective, tuple[float, float, float]] = {
    "energy": (1.0, 0.0, 0.0),
    "latency": (0.0, 1.0, 0.0),
    "edp": (1.0, 1.0, 0.0),
    "size": (0.0, 0.0, 1.0),
}
"""1 where relative energy, latency and size are factors of an objective's value."""


PLANS_AT_ONCE = 256
"""Plans that are priced together: their arrays of some 50 layers stay in a core's cache."""
NEAR_AT_ONCE = 2048
"""The same for plans that differ from one in few layers."""


@dataclass(frozen=True)
class Metrics:
    """What plans cost, arrays (B,) float64: error in nats of loss, drop as predicted from it."""

    energy_uj: FloatArray
    latency_ms: FloatArray
    size_kb: FloatArray
    error: FloatArray
    drop_points: FloatArray

    def __len__(self) -> int:
        return len(self.energy_uj)

    def costs(self) -> FloatArray:
        """Returns energy, latency and size as columns, (B, 3)."""
        return np.stack((self.energy_uj, self.latency_ms, self.size_kb), axis=1)

    def budget(self, plan: int) -> Budget:
        """Returns one plan's metrics as the type that limits have."""
        return Budget(
            drop_points=float(self.drop_points[plan]),
            energy_uj=float(self.energy_uj[plan]),
            latency_ms=float(self.latency_ms[plan]),
            size_kb=float(self.size_kb[plan]),
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """A network on an accelerator with its space, predicted errors and the map from errors to accuracy points.

    Raises:
        UnknownNameError: unknown objective.
        MismatchError: an error table of another space.
    """

    network: Network
    accelerator: Accelerator
    space: Space
    errors: ErrorTable
    calibration: Calibration
    objective: Objective = "energy"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVE_WEIGHTS:
            known = ", ".join(OBJECTIVE_WEIGHTS)
            raise UnknownNameError(f"objective '{self.objective}' is unknown (known: {known}); choose one of these")
        self.errors.check(self.space)

    def evaluate(self, choices: Choices, near: Choices | None = None) -> Metrics:
        """Returns what plans cost, for choices int16 (B, L, 4); undecided entries count as `space.start`.

        Args:
            choices: the plans.
            near: a plan int16 (L, 4) from which they differ in few layers; only those are priced then. The result is
                the same to the last bit.
        """
        at_once = PLANS_AT_ONCE if near is None else NEAR_AT_ONCE
        starts = range(0, max(len(choices), 1), at_once)
        parts = [self._costs_and_error(choices[start : start + at_once], near) for start in starts]
        energy_uj, latency_ms, size_kb, error = np.concatenate(parts, axis=1)
        return Metrics(energy_uj, latency_ms, size_kb, error, self.calibration.points(error))

    def _costs_and_error(self, choices: Choices, near: Choices | None) -> FloatArray:
        """Returns energy, latency, size and error as rows, (4, B)."""
        if near is not None:
            cells = cells_near(self.space, choices, near)
            cost = self.accelerator.evaluate(self.network, cells.assignment, cells.layers)
            return np.stack((*cost.totals(cells.added), self.counted.error_of(cells)))
        cost = self.accelerator.evaluate(self.network, self.space.resolve(choices))
        error = self.counted.error(self.space, choices)
        return np.stack((cost.energy_uj, cost.latency_ms, cost.size_kb, error))

    @cached_property
    def baseline(self) -> Metrics:
        """The dense network at the baseline bits, a batch of one."""
        return self.evaluate(self.space.baseline[None])

    @cached_property
    def start(self) -> Metrics:
        """The plan that undecided entries stand for, a batch of one: the baseline with pins applied."""
        return self.evaluate(self.space.start[None])

    @cached_property
    def table(self) -> AdditiveTable:
        """Cost and error differences of every alternative of every layer against `space.start`."""
        return build_table(self.network, self.accelerator, self.space, self.counted)

    @cached_property
    def counted(self) -> ErrorTable:
        """The errors as the calibration wants them summed."""
        return self.errors.counting(self.calibration.activation_share)

    def predicted_drop(self, choice: Choices) -> float:
        """Returns the drop that is predicted for one plan, int16 (L, 4), in points, without pricing it."""
        return float(self.calibration.points(self.counted.error(self.space, choice[None]))[0])

    @cached_property
    def weights(self) -> FloatArray:
        """1 for those of energy, latency and size whose product is the objective, (3,)."""
        return np.array(OBJECTIVE_WEIGHTS[self.objective])

    def relative(self, costs: FloatArray) -> FloatArray:
        """Returns the objective relative to the baseline, (...), for energy, latency and size (..., 3)."""
        value: FloatArray | float = 1.0
        for column, base in self._priced:
            value = value * np.maximum(costs[..., column] / base, 0.0)
        return np.asarray(value)

    @cached_property
    def _priced(self) -> tuple[tuple[int, float], ...]:
        """Columns of the costs whose product is the objective, with the baseline's values."""
        base = self.baseline.costs()[0]
        return tuple((int(column), float(base[column])) for column in np.flatnonzero(self.weights))

    def objective_value(self, metrics: Metrics) -> FloatArray:
        """Returns the objective relative to the baseline, (B,): 1.0 for the dense network at baseline bits."""
        return self.relative(metrics.costs())

    def with_calibration(self, calibration: Calibration) -> Problem:
        """Returns the same problem with another map from errors to points; the built table is carried over."""
        return self._sharing_table(replace(self, calibration=calibration))

    def with_objective(self, objective: Objective) -> Problem:
        """Returns the same problem with something else to reduce; the built table is carried over."""
        return self._sharing_table(replace(self, objective=objective))

    def _sharing_table(self, changed: Problem) -> Problem:
        if "table" in self.__dict__:
            alike = changed.calibration.activation_share == self.calibration.activation_share
            changed.__dict__["table"] = self.table if alike else self.table.with_errors(changed.counted)
        return changed
