"""The measured phase that all searchers share: land, measure, refit, and land again.

Every measurement corrects the map from errors to points. Plans are landed on the drop limit times a pressure: it rises
while measured plans keep the limits and falls while they break them, so that measurements gather around the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from agent.landing import Lander
from agent.limits import Bounds, infeasible
from agent.measuring import Measuring
from agent.searchers.protocol import Observer
from agent.steps import Stepper
from envs.accuracy.archive import Archive, Measurement
from envs.accuracy.balance import SHARES, fit_balanced
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import Choices

RAISE, LOWER = 1.12, 0.88
GENTLEST, HARDEST = 0.3, 2.0
NEAREST = 6
"""Candidates about the target from which landing starts in turn."""
HOPELESS = 1.5
"""Of a plan that loses more than so many times the limit, only that is measured. Those between are worth a full figure:
they fit the calibration where it matters, and on all validation images they may keep the limit."""
NUDGES = (1.0, 0.96, 1.04, 0.92, 1.08)
"""Factors on the landing target that are tried in turn until a plan is new."""


def fitted(problem: Problem, archive: Archive, images: int) -> Problem:
    """Returns the problem with its calibration fitted to every plan measured on so many images.

    The share of activations' errors is fitted too, and with it the errors change that searchers see.
    """
    return _fitted(problem, archive, images, SHARES)


def refitted(problem: Problem, archive: Archive, images: int) -> Problem:
    """Returns the problem with only the map from errors to points fitted anew, so that errors stay what they are."""
    return _fitted(problem, archive, images, np.array([problem.calibration.activation_share]))


def _fitted(problem: Problem, archive: Archive, images: int, shares: FloatArray) -> Problem:
    entries = archive.on(images)
    if not entries:
        return problem
    errors = problem.errors.parts(problem.space, np.stack([entry.choice for entry in entries]))
    drops, stopped = np.array([(entry.drop_points, entry.stopped) for entry in entries]).T
    return problem.with_calibration(fit_balanced(errors, drops, censored=stopped.astype(np.bool_), shares=shares))


def refine(
    problem: Problem, archive: Archive, candidates: Choices, limits: Budget, *, measuring: Measuring, observer: Observer
) -> Problem:
    """Measures plans around the limits until the evaluations are spent; returns the problem as fitted at the end.

    The plans are in the archive. Nothing is random: the same archive and candidates give the same measurements.

    Args:
        problem: prices the plans.
        archive: measures and keeps them.
        candidates: legal plans, int16 (N, L, 4), from which landing starts.
        limits: what the plan wanted must keep.
        measuring: what may be spent.
        observer: is told of progress and of better plans.

    Raises:
        InfeasibleError: limits on costs that no plan reaches, whatever its accuracy.
    """
    problem = fitted(problem, archive, measuring.images)
    lander = Lander(problem, Stepper(problem, Bounds.of(problem, limits).limited_costs))
    _check_reachable(lander, candidates, limits)
    pressure, turn = 1.0, 0
    while not measuring.over(archive):
        lander = lander.with_problem(refitted(problem, archive, measuring.images))
        best = archive.best(limits, measuring.images)
        target = replace(limits, drop_points=limits.drop_points * pressure)
        starts = _starts(lander.problem, candidates, target, best, turn)
        plan = _new_plan(lander, archive, target, starts, measuring.images)
        if plan is None:
            break
        turn += 1
        found = archive.evaluate(plan, measuring.images, hopeless_points=HOPELESS * limits.drop_points)
        kept = limits.satisfied_by(found.cost)
        pressure = float(np.clip(pressure * (RAISE if kept else LOWER), GENTLEST, HARDEST))
        observer.progress("measure", len(archive.on(measuring.images)), measuring.evaluations)
        if kept and (best is None or found.objective < best.objective):
            observer.improved(found)
    return fitted(problem, archive, measuring.images)


def _check_reachable(lander: Lander, candidates: Choices, limits: Budget) -> None:
    """Raises InfeasibleError when no candidate can be landed on the limits on costs alone."""
    if not np.isfinite([limits.energy_uj, limits.latency_ms, limits.size_kb]).any():
        return
    costs_only = replace(limits, drop_points=np.inf)
    cheapest = candidates[int(np.argmin(lander.problem.objective_value(lander.problem.evaluate(candidates))))]
    landed = lander.land(cheapest, costs_only, exchanges=0)
    if not landed.feasible:
        raise infeasible(lander.problem, costs_only, landed.metrics.budget(0))


def _starts(
    problem: Problem, candidates: Choices, target: Budget, best: Measurement | None, turn: int
) -> Iterator[Choices]:
    """Yields plans to land from: the best measured one every other turn, else a candidate near the target's error."""
    wanted = Bounds.of(problem, target).upper[0]
    errors = np.maximum(problem.evaluate(candidates).error, 1e-12)
    distance = np.abs(np.log(errors / wanted)) if np.isfinite(wanted) else -errors
    near = np.argsort(distance, kind="stable")[:NEAREST]
    if best is not None and turn % 2 == 1:
        yield best.choice
    for offset in range(len(near)):
        yield candidates[near[(turn // 2 + offset) % len(near)]]


def _new_plan(
    lander: Lander, archive: Archive, target: Budget, starts: Iterator[Choices], images: int
) -> Choices | None:
    """Returns a plan landed on the target, or close to it, that was not measured yet; None when all were."""
    tried = list(starts)
    for nudge in NUDGES:
        nudged = replace(target, drop_points=target.drop_points * nudge)
        for start in tried:
            landed = lander.land(start, nudged)
            if archive.known(landed.choice, images) is None:
                return landed.choice
    return None
