"""Lands plans on their limits by small legal steps, whoever found them.

A plan that breaks a limit is tightened by the steps that cost least of the objective; one with slack spends it on the
steps that gain most of the objective for what they use of the limits; when no single step is left, pairs of steps
exchange slack between layers. A step changes one layer, and with it the readers that inherit its activation bits.
Steps are picked with the additive table and judged by `Problem.evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.limits import Bounds
from agent.steps import Stepper, Steps
from envs.problem import Metrics, Problem
from plan.assignment import FloatArray, IntArray
from plan.budget import Budget
from plan.space import Choices

ROUNDS, EXCHANGES, PAIRS = 60, 12, 96
LEAST_GAIN = 1e-5
"""A round that improves the objective by less, relative to the baseline, is the last."""
ROUNDING = 1e-9
"""By how much sums of floats may miss a limit, where pairs are only ruled out."""


@dataclass(frozen=True, eq=False)
class Landed:
    """A plan int16 (L, 4), its metrics (a batch of one), its objective, and by how much it breaks the bounds."""

    choice: Choices
    metrics: Metrics
    objective: float
    excess: float

    @property
    def feasible(self) -> bool:
        """Whether the plan keeps its limits as predicted."""
        return self.excess == 0.0


@dataclass(frozen=True, eq=False)
class Judged:
    """Steps with what the plan after each alone would cost: objective (n,), use of the bounds (n, 4), excess (n,)."""

    steps: Steps
    objective: FloatArray
    use: FloatArray
    excess: FloatArray


class Lander:
    """Lands plans of one problem.

    Args:
        problem: prices the plans.
        stepper: proposes steps; made for the same space, objective and limited costs.
    """

    def __init__(self, problem: Problem, stepper: Stepper) -> None:
        self.problem = problem
        self.stepper = stepper

    def with_problem(self, problem: Problem) -> Lander:
        """Returns a lander for the same space and prices with another calibration."""
        return Lander(problem, self.stepper)

    def land(self, choice: Choices, limits: Budget, *, rounds: int = ROUNDS, exchanges: int = EXCHANGES) -> Landed:
        """Returns a legal plan, int16 (L, 4), moved onto the limits; not feasible if no step leads there."""
        bounds = Bounds.of(self.problem, limits)
        current = self._judge(choice[None], bounds)
        for _ in range(rounds):
            steps = self._steps(current, bounds)
            following = self._run(current, steps, bounds)
            if following is None and current.feasible and exchanges > 0:
                following, exchanges = self._exchange(current, steps, bounds), exchanges - 1
            if following is None:
                break
            current = following
        return current

    def _judge(self, plans: Choices, bounds: Bounds, near: Choices | None = None) -> Landed:
        """Returns the best of some plans: least objective among those that keep the bounds, else least excess."""
        metrics = self.problem.evaluate(plans, near)
        objective, excess = self.problem.objective_value(metrics), bounds.excess(metrics)
        best = int(np.lexsort((objective, excess))[0])
        return Landed(plans[best], _one(metrics, best), float(objective[best]), float(excess[best]))

    def _steps(self, current: Landed, bounds: Bounds) -> Judged:
        steps = self.stepper.steps(current.choice)
        metrics = self.problem.evaluate(self.stepper.applied(current.choice, steps), current.choice)
        return Judged(steps, self.problem.objective_value(metrics), bounds.use(metrics), bounds.excess(metrics))

    def _run(self, current: Landed, steps: Judged, bounds: Bounds) -> Landed | None:
        """Returns the plan after the best run of single steps, None when none helps."""
        order = _spending(steps, current, bounds) if current.feasible else _tightening(steps, current)
        order = self.stepper.compatible(order, steps.steps)
        if not len(order):
            return None
        return _if_better(self._judge(self.stepper.runs(current.choice, steps.steps, order), bounds), current)

    def _exchange(self, current: Landed, steps: Judged, bounds: Bounds) -> Landed | None:
        """Returns the plan after the best pair of steps, None when none helps."""
        pairs = _pairs(steps, current, bounds)
        if not len(pairs):
            return None
        plans = self.stepper.both(current.choice, steps.steps, pairs)
        return _if_better(self._judge(plans, bounds, current.choice), current)


def _one(metrics: Metrics, plan: int) -> Metrics:
    """Returns one plan's metrics as a batch of one."""
    return Metrics(**{name: getattr(metrics, name)[plan : plan + 1] for name in metrics.__dataclass_fields__})


def _if_better(found: Landed, current: Landed) -> Landed | None:
    """Returns the plan found if it improves on the current one by enough to go on."""
    if current.feasible:
        better = found.feasible and found.objective < current.objective - LEAST_GAIN
    else:
        better = found.excess < current.excess * (1 - 1e-6)
    return found if better else None


def _spending(steps: Judged, current: Landed, bounds: Bounds) -> IntArray:
    """Returns the steps that gain objective within the bounds, most gain for the slack they use first."""
    used = bounds.use(current.metrics)[0]
    gain = current.objective - steps.objective
    share = (np.maximum(steps.use - used, 0.0) / np.maximum(1.0 - used, 1e-9)).max(axis=1)
    candidates = np.flatnonzero((gain > 0) & (steps.excess == 0.0))
    return candidates[np.argsort(-gain[candidates] / (share[candidates] + 1e-6), kind="stable")]


def _tightening(steps: Judged, current: Landed) -> IntArray:
    """Returns the steps that reduce the excess, least loss of objective for it first."""
    reduced = current.excess - steps.excess
    loss = steps.objective - current.objective
    candidates = np.flatnonzero(reduced > 0)
    return candidates[np.argsort(loss[candidates] / reduced[candidates], kind="stable")]


def _pairs(steps: Judged, current: Landed, bounds: Bounds) -> IntArray:
    """Returns pairs of steps (n, 2) whose summed effects gain objective and keep the bounds, most gain first."""
    used = bounds.use(current.metrics)[0]
    limited = np.flatnonzero(np.isfinite(bounds.upper))
    gain = current.objective - steps.objective
    change = (steps.use - used)[:, limited]
    givers = np.flatnonzero(change.min(axis=1, initial=0.0) < 0)
    takers = _partnered(np.flatnonzero(gain > 0), givers, gain, change, (1.0 - used)[limited])
    total = gain[takers, None] + gain[givers]
    fits = (steps.steps.layer[takers, None] != steps.steps.layer[givers]) & (total > LEAST_GAIN)
    for column, slack in zip(change.T, (1.0 - used)[limited], strict=True):
        fits &= column[takers, None] + column[givers] <= slack
    first, second = np.nonzero(fits)
    best = _largest(total[first, second], PAIRS)
    return np.stack((takers[first[best]], givers[second[best]]), axis=1)


def _partnered(takers: IntArray, givers: IntArray, gain: FloatArray, change: FloatArray, slack: FloatArray) -> IntArray:
    """Returns the takers for which every limit on its own leaves a giver that makes a gain: no others have pairs."""
    for column, left in zip(change.T, slack, strict=True):
        ranked = givers[np.argsort(column[givers], kind="stable")]
        most = np.maximum.accumulate(np.append(-np.inf, gain[ranked]))
        room = left - column[takers]
        fitting = np.searchsorted(column[ranked], room + ROUNDING * (1.0 + np.abs(room)), side="right")
        takers = takers[gain[takers] + most[fitting] > LEAST_GAIN]
    return takers


def _largest(values: FloatArray, most: int) -> IntArray:
    """Returns where the largest of some values stand, largest first, equal ones in their order."""
    near = np.arange(len(values))
    if len(values) > most:
        near = np.flatnonzero(values >= np.partition(values, -most)[-most])
    return near[np.argsort(-values[near], kind="stable")][:most]
