"""What searchers that only ask for scores share: they propose plans, a scorer says what these cost and lose.

The scorer is the proxy, or the measured accuracy alone as such searchers were published; the searcher does not see
which. Costs come from the hardware model either way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.exploration import additive_plans
from agent.measuring import Measuring
from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import CANDIDATES, Resumable
from envs.accuracy.archive import Archive
from envs.problem import Metrics, Problem
from envs.reward import HIGHEST_RATE, LOWEST_RATE
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import Choices

WARM_PLANS = 64
REPEATS = 20
"""Times as many proposals as evaluations after which a searcher that repeats itself is stopped."""


@dataclass(frozen=True)
class Scores:
    """What plans cost: the objective relative to the baseline, drops in points, and costs, arrays over B plans."""

    objective: FloatArray
    drop_points: FloatArray
    metrics: Metrics

    def violation(self, limits: Budget) -> FloatArray:
        """Returns by which share of the limits plans exceed them in total, (B,), 0 where all are kept."""
        over = np.maximum(self.drop_points - limits.drop_points, 0.0) / max(limits.drop_points, 0.1)
        columns = (("energy_uj", limits.energy_uj), ("latency_ms", limits.latency_ms), ("size_kb", limits.size_kb))
        for name, limit in columns:
            if np.isfinite(limit):
                over = over + np.maximum(getattr(self.metrics, name) / limit - 1.0, 0.0)
        return np.asarray(over)


class Scorer(Protocol):
    """Scores plans until what it may spend is spent."""

    @property
    def problem(self) -> Problem:
        """Space and prices; a searcher reads no errors from it."""

    @property
    def warm(self) -> Choices:
        """Plans to start from, int16 (n, L, 4), none where only measurements count."""

    @property
    def left(self) -> int:
        """How many plans may still be scored."""

    def score(self, plans: Choices) -> Scores:
        """Returns what plans int16 (B, L, 4) cost and lose."""


class ProxyScorer:
    """Scores by the proxy, so many plans, and keeps all that it was shown.

    Args:
        problem: predicts.
        plans: how many may be scored.
        observer: is told of progress.
    """

    def __init__(self, problem: Problem, plans: int, observer: Observer) -> None:
        self.problem = problem
        self.total = self.left = plans
        self.observer = observer
        rates = np.geomspace(LOWEST_RATE, HIGHEST_RATE, WARM_PLANS)
        self.warm = additive_plans(problem, np.repeat(rates[:, None], problem.space.n_layers, axis=1))
        self._seen = [problem.space.start[None], self.warm]

    @property
    def frontier(self) -> Choices:
        """The predicted frontier of all plans scored and of the warm start."""
        return predicted_frontier(self.problem, np.unique(np.concatenate(self._seen), axis=0))

    def score(self, plans: Choices) -> Scores:
        """Returns what plans cost and, as predicted, lose."""
        self.left -= len(plans)
        self._seen.append(plans)
        self.observer.progress("search", self.total - max(self.left, 0), self.total)
        metrics = self.problem.evaluate(plans)
        return Scores(self.problem.objective_value(metrics), metrics.drop_points, metrics)


class MeasuredScorer:
    """Scores by measured accuracy alone; every plan that is new costs one evaluation.

    Args:
        archive: measures, counts and keeps.
        measuring: what may be spent.
        observer: is told of progress.
    """

    def __init__(self, archive: Archive, measuring: Measuring, observer: Observer) -> None:
        self.archive = archive
        self.measuring = measuring
        self.observer = observer
        self.proposals = 0

    @property
    def problem(self) -> Problem:
        """Space and prices."""
        return self.archive.problem

    @property
    def warm(self) -> Choices:
        """No plans."""
        return np.empty((0, self.problem.space.n_layers, 4), dtype=np.int16)

    @property
    def left(self) -> int:
        """Evaluations left, none after the deadline or after many repeated proposals."""
        spent = len(self.archive.on(self.measuring.images))
        repeating = self.proposals >= REPEATS * self.measuring.evaluations
        return 0 if repeating or self.measuring.over(self.archive) else self.measuring.evaluations - spent

    def score(self, plans: Choices) -> Scores:
        """Returns what plans cost and, as measured, lose; plans beyond the last evaluation count as losing all."""
        drops = np.full(len(plans), 100.0)
        for row, plan in enumerate(plans):
            self.proposals += 1
            known = self.archive.known(plan, self.measuring.images)
            if known is None and not self.left:
                continue
            drops[row] = (known or self.archive.evaluate(plan, self.measuring.images)).drop_points
            done = len(self.archive.on(self.measuring.images))
            self.observer.progress("measure", done, self.measuring.evaluations)
        metrics = self.problem.evaluate(plans)
        return Scores(self.problem.objective_value(metrics), drops, metrics)


Explore = Callable[[Scorer, Budget, int], None]
"""Proposes plans to a scorer until nothing is left: (scorer, limits, seed)."""


class ScoredSearcher(Resumable):
    """A searcher that only asks for scores. Interrupted on the way, it begins again and proposes the same plans.

    Args:
        explore: the search itself.
        most_plans: plans that it scores on the proxy at most; fewer where the agent trains on fewer episodes.
    """

    def __init__(self, explore: Explore, most_plans: int) -> None:
        super().__init__()
        self.explore = explore
        self.most_plans = most_plans

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of all plans that the search scored on the proxy."""
        begun = self.begin()
        if CANDIDATES in begun:
            return begun[CANDIDATES]
        episodes = max(stop.steps // problem.space.n_layers, 1)
        scorer = ProxyScorer(problem, min(self.most_plans, episodes), observer)
        self.explore(scorer, limits, seed)
        return self.finished(scorer.frontier)

    def measure(self, archive: Archive, limits: Budget, *, measuring: Measuring, seed: int, observer: Observer) -> None:
        """Searches by measured accuracy alone; what it measured is in the archive."""
        self.explore(MeasuredScorer(archive, measuring, observer), limits, seed)
