"""What is worth choosing in each layer: the alternatives that the additive table does not show to be dominated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.pareto import undominated
from envs.problem import Problem
from envs.reward import linear_objective
from plan.assignment import FloatArray
from plan.space import METHOD, Choices

FREE, FILTERS, CHANNELS = range(3)
"""What an alternative does to channel groups: nothing, prunes the group it produces, prunes the group it reads."""


@dataclass(frozen=True, eq=False)
class Menu:
    """Alternatives of one layer, best first by objective.

    Attributes:
        choices: int16 (n, 4).
        objective: (n,) difference of the linearised relative objective against the start.
        costs: (n, 3) differences of energy_uj, latency_ms, size_kb.
        error: (n,) differences in nats.
        kind: (n,) one of FREE, FILTERS, CHANNELS.
    """

    choices: Choices
    objective: FloatArray
    costs: FloatArray
    error: FloatArray
    kind: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.choices)

    def only(self, rows: NDArray[np.int64]) -> Menu:
        """Returns some of the alternatives, in the order given."""
        return Menu(self.choices[rows], self.objective[rows], self.costs[rows], self.error[rows], self.kind[rows])


def build_menus(problem: Problem, limited: Sequence[int] = ()) -> tuple[Menu, ...]:
    """Returns one menu per layer.

    An alternative stays if, among its kind, none has both less error and less of the objective, or of a cost that is
    limited, or of objective and that cost together.

    Args:
        problem: gives table and objective.
        limited: columns of energy_uj, latency_ms, size_kb (0, 1, 2) that have limits of their own.
    """
    slope = linear_objective(problem)
    relative = np.eye(3) / problem.start.costs()[0]
    criteria = [slope, *(relative[column] for column in limited), *(slope + relative[column] for column in limited)]
    return tuple(_menu(problem, layer, np.array(criteria)) for layer in range(problem.space.n_layers))


def _menu(problem: Problem, layer: int, criteria: FloatArray) -> Menu:
    geometry = problem.space.geometry
    every = problem.table.alternatives(layer)
    costs, error = every.metrics[:, :3], every.metrics[:, 3]
    method = every.choices[:, METHOD]
    kind = np.where(geometry.is_filter[method], FILTERS, np.where(geometry.is_channel[method], CHANNELS, FREE))
    whole = Menu(every.choices, costs @ criteria[0], costs, error, kind)
    rows = [
        part[undominated(costs[part] @ criterion, error[part])]
        for part in (np.flatnonzero(kind == value) for value in (FREE, FILTERS, CHANNELS))
        for criterion in criteria
    ]
    kept = np.unique(np.concatenate(rows))
    return whole.only(kept[np.lexsort((whole.error[kept], whole.objective[kept]))])


def hull(costs: FloatArray, errors: FloatArray) -> NDArray[np.int64]:
    """Returns the rows that are best at some exchange rate between the two numbers, by rising cost."""
    rows: list[int] = []
    for row in undominated(costs, errors).tolist():
        while len(rows) > 1 and _above(rows[-2], rows[-1], row, costs, errors):
            rows.pop()
        rows.append(row)
    return np.array(rows, dtype=np.int64)


def _above(first: int, middle: int, last: int, costs: FloatArray, errors: FloatArray) -> bool:
    """Returns whether the middle point lies on or above the line from the first to the last."""
    run, rise = costs[last] - costs[first], errors[last] - errors[first]
    return bool((errors[middle] - errors[first]) * run >= rise * (costs[middle] - costs[first]))
