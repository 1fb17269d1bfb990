"""Closes in on the limit: plans landed between one that keeps it on all images and one that does not.

On all images most plans lose a little more than on those that the search chose them by. So the cheap ones break the
limit together, and between them and the first that keeps it lie often several percent of the objective, unmeasured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.landing import Landed, Lander
from agent.limits import Bounds
from agent.steps import Stepper
from envs.accuracy.archive import Archive, Measurement
from envs.problem import Problem
from plan.budget import Budget

AIM = 0.95
"""Share of the limit on the drop that is aimed at."""
CLOSE = 0.03
"""A plan this share of the limit below it is close enough, and so is a gap of this share between predicted drops."""
INNERMOST = 0.15
"""Targets keep this share of the gap away from either end: both ends are known."""


def close_in(
    problem: Problem,
    archive: Archive,
    limits: Budget,
    *,
    images: int,
    attempts: int,
    tick: Callable[[int], None],
) -> Measurement | None:
    """Returns the cheapest plan measured on so many images that keeps the limits, None when none does.

    Args:
        problem: with the calibration fitted by the search.
        archive: holds the finalists' measurements; new ones are added.
        limits: a drop and perhaps costs.
        images: all validation images.
        attempts: plans that may be measured.
        tick: told how many were.
    """
    lander = Lander(problem, Stepper(problem, Bounds.of(problem, limits).limited_costs))
    for attempt in range(attempts):
        found = archive.on(images)
        target = next_target(problem, found, limits)
        landed = None if target is None else _landed(lander, found, replace(limits, drop_points=target), limits)
        if landed is None or archive.known(landed.choice, images) is not None:
            break
        archive.evaluate(landed.choice, images)
        tick(attempt + 1)
    return cheapest_kept(archive.on(images), limits)


def cheapest_kept(entries: Sequence[Measurement], limits: Budget) -> Measurement | None:
    """Returns the measured plan of least objective that keeps the limits."""
    kept = [entry for entry in entries if limits.satisfied_by(entry.cost)]
    return min(kept, key=lambda entry: entry.objective, default=None)


def next_target(problem: Problem, entries: Sequence[Measurement], limits: Budget) -> float | None:
    """Returns the predicted drop to land on next, None when the limit is as good as reached.

    Below lies the best plan that kept the limits (or none at all), above the mildest that lost too much. The aim is
    read off the line between the two; without a plan above, the excess of the best over its prediction is carried on.
    """
    best, aim = cheapest_kept(entries, limits), AIM * limits.drop_points
    low, lost = (0.0, 0.0) if best is None else (problem.predicted_drop(best.choice), best.drop_points)
    if limits.drop_points - lost <= CLOSE * limits.drop_points:
        return None
    above = [(problem.predicted_drop(entry.choice), entry.drop_points) for entry in entries]
    above = [pair for pair in above if pair[1] > limits.drop_points and pair[0] > low]
    if not above:
        return low + max(aim - lost, CLOSE * limits.drop_points) if best is not None else None
    high, worst = min(above)
    if high - low <= CLOSE * high:
        return None
    share = min(max((aim - lost) / (worst - lost), INNERMOST), 1.0 - INNERMOST)
    return low + share * (high - low)


def _landed(lander: Lander, entries: Sequence[Measurement], target: Budget, limits: Budget) -> Landed | None:
    """Returns the cheaper of the plans landed on a target from either side, None if it is no cheaper than the best."""
    best = cheapest_kept(entries, limits)
    broken = [entry for entry in entries if entry.drop_points > limits.drop_points]
    starts = [entry for entry in (best, min(broken, key=lambda entry: entry.drop_points, default=None)) if entry]
    landed = [found for entry in starts if (found := lander.land(entry.choice, target)).feasible]
    cheapest = min(landed, key=lambda found: found.objective, default=None)
    if cheapest is None or (best is not None and cheapest.objective >= best.objective):
        return None
    return cheapest
