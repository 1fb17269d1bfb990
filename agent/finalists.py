"""Which measured plan is the answer: chosen on all validation images, of which the search saw a part.

Where what the search measured speaks of all images, its best plan is confirmed. Elsewhere the best of many plans on a
part of the images owes some of its rank to luck, and between plans that the search happened to measure lie cheaper
ones. So finalists are measured one by one, always the plan that promises most: what it saves beyond the best so far,
times the probability that it keeps the limit (expected improvement under a constraint; Gardner et al. 2014). Plans
compete that the search measured, and plans landed on the limit as it looks by then (`agent.closing`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from agent.closing import Closer
from agent.expectation import Expectation
from agent.landing import Landed
from agent.limits import infeasible
from envs.accuracy.archive import Archive, Measurement
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import Choices

LEAST_GAIN = 1e-4
"""Objective that the next measurement must be expected to save; 1 is the baseline's."""


@dataclass(frozen=True)
class Round:
    """What the final choice is made by.

    Attributes:
        limits: that the answer must keep.
        search_images, all_images: images that the search measured on, and all of them.
        attempts: plans that may be measured on all images.
        closes: whether plans are landed for the purpose; not where a searcher is to see no predictions.
        deadline: of `time.monotonic`, after which a plan that keeps the limits is good enough; None for never.
    """

    limits: Budget
    search_images: int
    all_images: int
    attempts: int
    closes: bool = True
    deadline: float | None = None

    def enough(self, archive: Archive, best: Measurement | None) -> bool:
        """Returns whether there is a plan, and the time is up or nothing better is to be expected."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        return best is not None and (late or self.confirms(archive))

    def confirms(self, archive: Archive) -> bool:
        """Returns whether what the search measured speaks of all images."""
        searched = archive.on(self.search_images)
        return bool(searched) and len(searched[0].correct) == self.all_images


@dataclass(frozen=True, eq=False)
class Candidates:
    """Plans that may be measured next: choices int16 (n, L, 4), objective (n,), expected drop and its spread (n,)."""

    choices: Choices
    objective: FloatArray
    drop_points: FloatArray
    spread_points: FloatArray

    def following(self, limit_points: float, best: Measurement | None) -> Choices | None:
        """Returns the plan that promises most, None when none promises enough.

        Without a plan that keeps the limit any is better than none: then the likeliest is taken where all are hopeless.
        """
        if not len(self.choices):
            return None
        reference = max(1.0, float(self.objective.max())) if best is None else best.objective
        margin = (limit_points - self.drop_points) / np.maximum(self.spread_points, 1e-9)
        gain = np.maximum(reference - self.objective, 0.0) * ndtr(margin)
        if float(gain.max()) < LEAST_GAIN and best is not None:
            return None
        following: Choices = self.choices[int((gain if gain.max() >= LEAST_GAIN else margin).argmax())]
        return following


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
    closer = Closer(problem, final.limits) if final.closes else None
    for attempt in range(final.attempts if final.all_images > final.search_images else 0):
        best = archive.best(final.limits, final.all_images)
        if final.enough(archive, best):
            break
        following = _unconfirmed(archive, final) if final.confirms(archive) else None
        if following is None:
            following = _candidates(problem, archive, final, closer, best).following(final.limits.drop_points, best)
        if following is None:
            break
        archive.evaluate(following, final.all_images)
        tick(attempt + 1)
    return archive.best(final.limits, final.all_images) or _unchanged(problem, archive, final)


def _unconfirmed(archive: Archive, final: Round) -> Choices | None:
    """Returns the cheapest plan that keeps the limits by the search and was not measured on all images yet."""
    kept = [
        entry
        for entry in archive.complete(final.search_images)
        if final.limits.satisfied_by(entry.cost) and archive.known(entry.choice, final.all_images) is None
    ]
    best = min(kept, key=lambda entry: (entry.objective, entry.drop_points), default=None)
    return None if best is None else best.choice


def _candidates(
    problem: Problem, archive: Archive, final: Round, closer: Closer | None, best: Measurement | None
) -> Candidates:
    """Returns what may be measured next: plans that the search measured, and landed ones."""
    searched = archive.on(final.search_images)
    found = archive.on(final.all_images)
    expectation = Expectation.of(problem, searched, found, final.all_images)
    costs_only = replace(final.limits, drop_points=np.inf)
    fresh = [
        entry
        for entry in searched
        if costs_only.satisfied_by(entry.cost) and archive.known(entry.choice, final.all_images) is None
    ]
    landed = [] if closer is None else closer.landed(best, found, expectation.bias_points)
    unknown = [plan for plan in landed if archive.known(plan.choice, final.all_images) is None]
    rivals: list[Measurement | Landed] = [*fresh, *unknown]
    return Candidates(
        np.array([rival.choice for rival in rivals]),
        np.array([rival.objective for rival in rivals]),
        np.concatenate((expectation.of_searched(fresh), expectation.of_new([plan.choice for plan in unknown]))),
        np.repeat((expectation.searched_spread, expectation.new_spread), (len(fresh), len(unknown))),
    )


def _unchanged(problem: Problem, archive: Archive, final: Round) -> Measurement:
    """Returns the start plan if it keeps the limits."""
    start = archive.evaluate(problem.space.start, final.all_images)
    if final.limits.satisfied_by(start.cost):
        return start
    nearest = min(archive.complete(), key=lambda entry: final.limits.broken_share(entry.cost))
    raise infeasible(problem, final.limits, nearest.cost)
