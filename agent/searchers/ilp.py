"""Integer linear programming on the additive table, solved exactly by HiGHS.

One binary variable per alternative of each layer; each layer takes one; a channel group is pruned by its producer or by
its consumer, not by both. Activation bits are alternatives of a tensor's first reader, whose cells hold what all its
readers and writers save. The sum of errors is bounded; sweeping the bound gives a frontier.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds as VariableBounds
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from agent.limits import TIGHT, Bounds
from agent.menu import CHANNELS, FILTERS, Menu, build_menus
from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import Resumable, number
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import ACTIVATION_BITS, Choices

BUDGETS = 16
"""Error bounds of the sweep, besides those around the limit."""
NEAR_LIMIT = (0.5, 0.75, 1.0, 1.5, 2.0)
SWEEP_GAP, EXACT_GAP = 2e-3, 1e-4
"""Relative gaps at which the solver stops: in the sweep, and around the limit."""


class IlpSearcher(Resumable):
    """Solves the additive table exactly for a sweep of error bounds, and around the limit."""

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of the optima."""
        bounds = Bounds.of(problem, limits)
        program = Program(problem, build_menus(problem, bounds.limited_costs))
        upper = self._error_bounds(program, float(bounds.upper[0]))
        begun = self.begin()
        plans, first = list(begun.get("plans", problem.space.start[None])), number(begun, "done")
        for done, (error, gap) in enumerate(upper[first:], start=first):
            observer.progress("search", done, len(upper))
            found = program.solve(np.array((error, *bounds.upper[1:])), gap)
            if found is None:
                found = program.solve(np.array((error, np.inf, np.inf, np.inf)), gap)
            if found is not None:
                plans.append(found)
            self.note(plans=np.stack(plans), done=np.array(done + 1))
        observer.progress("search", len(upper), len(upper))
        return predicted_frontier(problem, np.stack(plans))

    def _error_bounds(self, program: Program, wanted: float) -> list[tuple[float, float]]:
        """Returns error bounds with the gap to solve them to: a sweep of all that choices bring, and the one wanted."""
        low, high = program.error_range()
        sweep = np.geomspace(max(low * 1.01, 1e-9), max(high, low * 1.02), BUDGETS)
        near = [wanted * factor for factor in NEAR_LIMIT if np.isfinite(wanted)]
        return [(float(error), SWEEP_GAP) for error in sweep] + [(error, EXACT_GAP) for error in near]


class Program:
    """The linear program of a problem: build once, solve for many bounds."""

    def __init__(self, problem: Problem, menus: tuple[Menu, ...]) -> None:
        self.problem = problem
        self.menus = menus
        sizes = [len(menu) for menu in menus]
        self.first = np.concatenate(([0], np.cumsum(sizes)))
        self.layer = np.repeat(np.arange(len(menus)), sizes)
        self.objective = np.concatenate([menu.objective for menu in menus])
        self.resources = np.column_stack(
            (np.concatenate([menu.error for menu in menus]), np.concatenate([menu.costs for menu in menus]))
        )
        start = problem.table.start
        self.spent = np.array((start[3], start[0], start[1], start[2]))

    def error_range(self) -> tuple[float, float]:
        """Returns the least error of any plan and the error of the plan of least objective, nats."""
        least = sum(float(menu.error.min()) for menu in self.menus)
        cheapest = sum(float(menu.error[0]) for menu in self.menus)
        return self.spent[0] + least, self.spent[0] + cheapest

    def solve(self, upper: FloatArray, gap: float = EXACT_GAP) -> Choices | None:
        """Returns the plan int16 (L, 4) of least additive objective within bounds, None when there is none.

        Args:
            upper: bounds (4,) on error, energy_uj, latency_ms, size_kb; infinite where unlimited.
            gap: relative gap to the optimum at which the solver may stop.
        """
        limited = np.flatnonzero(np.isfinite(upper))
        scale = np.maximum(np.abs(upper[limited]), 1e-300)
        rows = (self.resources[:, limited] / scale).T
        room = (upper * (1 + TIGHT) - self.spent)[limited] / scale
        constraints = [self._one_each(), *self._exclusive()]
        if len(limited):
            constraints.append(LinearConstraint(rows, -np.inf, room))
        result = milp(
            self.objective,
            constraints=constraints,
            integrality=np.ones(len(self.objective)),
            bounds=VariableBounds(0, 1),
            options={"mip_rel_gap": gap},
        )
        return None if result.x is None else self._plan(result.x)

    def _plan(self, values: FloatArray) -> Choices:
        taken = [int(np.argmax(values[low:high])) for low, high in zip(self.first[:-1], self.first[1:], strict=True)]
        plan = np.stack([menu.choices[row] for menu, row in zip(self.menus, taken, strict=True)])
        plan[:, ACTIVATION_BITS] = plan[self.problem.space.deciders.reader, ACTIVATION_BITS]
        return plan

    def _one_each(self) -> LinearConstraint:
        columns = np.arange(len(self.layer))
        return LinearConstraint(csr_array((np.ones(len(columns)), (self.layer, columns))), 1, 1)

    def _exclusive(self) -> list[LinearConstraint]:
        """Returns the constraint that no group is pruned twice, in a list that is empty when none could be."""
        deciders = self.problem.space.deciders
        rows, columns = [], []
        pairs = [group for group, consumer in enumerate(deciders.consumer.tolist()) if consumer >= 0]
        for row, group in enumerate(pairs):
            for decider, kind in ((deciders.producer[group], FILTERS), (deciders.consumer[group], CHANNELS)):
                found = self.first[decider] + np.flatnonzero(self.menus[decider].kind == kind)
                rows += [row] * len(found)
                columns += found.tolist()
        if not rows:
            return []
        shape = len(pairs), len(self.layer)
        return [LinearConstraint(csr_array((np.ones(len(rows)), (rows, columns)), shape=shape), -np.inf, 1)]
