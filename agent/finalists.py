"""Which measured plan is the answer: chosen on all validation images, of which the search saw a part.

The best of many plans on a part of the images owes some of its rank to luck. So a plan's drop on all images is
estimated first: what was measured counts for the images measured, the fitted proxy for the rest, and what earlier
finalists showed corrects both. The cheapest plan that is expected to keep the limit is measured next. Half of the
measurements are kept for plans landed between finalists that kept the limit and others that did not (`agent.closing`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from agent.closing import close_in
from agent.limits import infeasible
from envs.accuracy.archive import Archive, Measurement
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget

LUCK_PRIOR = 1.0
"""Finalists' worth of evidence that estimates are right as they are."""


@dataclass(frozen=True)
class Round:
    """What the final choice is made by.

    Attributes:
        limits: that the answer must keep.
        search_images, all_images: images that the search measured on, and all of them.
        attempts: plans that may be measured on all images.
        closes: whether some of them are landed for the purpose; not where a searcher is to see no predictions.
    """

    limits: Budget
    search_images: int
    all_images: int
    attempts: int
    closes: bool = True

    @property
    def reserved(self) -> int:
        """Attempts kept for plans that are landed on the limit."""
        return self.attempts // 2 if self.closes and self.all_images > self.search_images else 0


def choose(problem: Problem, archive: Archive, final: Round, tick: Callable[[int], None]) -> Measurement:
    """Returns the cheapest plan found whose drop on all validation images, and whose costs, keep the limits.

    Args:
        problem: with the calibration fitted by the search.
        archive: holds what the search measured; the finalists' measurements are added.
        final: limits, images and attempts.
        tick: told how many finalists were measured.

    Raises:
        InfeasibleError: no finalist keeps the limits, nor does the plan that nothing was changed in.
    """
    costs_only = replace(final.limits, drop_points=np.inf)
    entries = [entry for entry in archive.on(final.search_images) if costs_only.satisfied_by(entry.cost)]
    estimated = _estimates(problem, entries, final)
    best, found = None, dict[int, Measurement]()
    for attempt in range(min(final.attempts - final.reserved, len(entries))):
        following = _next(entries, estimated + _luck(estimated, found), found, final.limits, best)
        if following is None:
            break
        found[following] = archive.evaluate(entries[following].choice, final.all_images)
        kept = final.limits.satisfied_by(found[following].cost)
        if kept and (best is None or found[following].objective < best.objective):
            best = found[following]
        tick(attempt + 1)
    if final.reserved:
        best = close_in(
            problem,
            archive,
            final.limits,
            images=final.all_images,
            attempts=final.attempts - len(found),
            tick=lambda done: tick(len(found) + done),
        )
    return best or _unchanged(problem, archive, final)


def _estimates(problem: Problem, entries: list[Measurement], final: Round) -> FloatArray:
    """Returns the expected drop of plans on all images, (n,)."""
    share = final.search_images / final.all_images
    predicted = np.array([problem.predicted_drop(entry.choice) for entry in entries])
    measured = np.array([entry.drop_points for entry in entries])
    stopped = np.array([entry.stopped for entry in entries], dtype=np.bool_)
    measured = np.where(stopped, np.maximum(measured, predicted), measured)
    return share * measured + (1 - share) * predicted


def _luck(estimated: FloatArray, found: dict[int, Measurement]) -> float:
    """Returns by how many points finalists did worse than estimated, shrunk towards zero."""
    worse = [entry.drop_points - float(estimated[index]) for index, entry in found.items()]
    return sum(worse) / (len(worse) + LUCK_PRIOR)


def _next(
    entries: list[Measurement],
    expected: FloatArray,
    found: dict[int, Measurement],
    limits: Budget,
    best: Measurement | None,
) -> int | None:
    """Returns the cheapest plan expected to keep the limit and to beat the best; the safest if there is no best."""
    left = [
        index
        for index, entry in enumerate(entries)
        if index not in found and (best is None or entry.objective < best.objective)
    ]
    hopeful = [index for index in left if expected[index] <= limits.drop_points]
    if hopeful:
        return min(hopeful, key=lambda index: (entries[index].objective, expected[index]))
    return min(left, key=lambda index: float(expected[index])) if left and best is None else None


def _unchanged(problem: Problem, archive: Archive, final: Round) -> Measurement:
    """Returns the start plan if it keeps the limits."""
    start = archive.evaluate(problem.space.start, final.all_images)
    if final.limits.satisfied_by(start.cost):
        return start
    nearest = min(archive.complete(), key=lambda entry: final.limits.broken_share(entry.cost))
    raise infeasible(problem, final.limits, nearest.cost)
