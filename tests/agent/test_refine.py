from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from agent.measuring import Measuring
from agent.refine import fitted, refine
from agent.searchers.protocol import Silent, Stop
from agent.searchers.registry import new_searcher
from envs.accuracy.archive import Archive, Measurement
from envs.accuracy.early_stop import Answers
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import InfeasibleError
from plan.scheme import Scheme
from plan.space import Choices

IMAGES = 1000


@dataclass
class FakeMeasure:
    """Accuracy that falls with the predicted error, `steepness` times as fast as the default calibration says."""

    problem: Problem
    steepness: float = 2.0
    images_id: str = "fake"

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: Sequence[Scheme], images: int) -> np.ndarray:
        plan = self.problem.space.choice(schemes)
        points = self.steepness * 25.0 * float(self.problem.evaluate(plan[None]).error[0])
        return np.arange(images) >= round(points / 100.0 * images)

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Meets the wrong images first, in batches of 10."""
        correct = self.correct(schemes, images)
        run = next((seen for seen in range(0, images, 10) if (~correct[:seen]).sum() > wrong), images)
        correct[run:] = True
        return Answers(correct, run)


@dataclass
class Watcher(Silent):
    """Keeps what it is told."""

    better: list[Measurement] = field(default_factory=list)
    done: int = 0

    def improved(self, best: Measurement) -> None:
        self.better.append(best)

    def progress(self, phase: str, done: int, total: int) -> None:
        self.done = done


@pytest.fixture(scope="module")
def candidates(chain: Problem) -> Choices:
    limits = Budget(drop_points=2.0)
    return new_searcher("greedy").search(chain, limits, stop=Stop(1, 1), seed=0, observer=Silent())


def refined(chain: Problem, candidates: Choices, limits: Budget, evaluations: int) -> tuple[Archive, Watcher, Problem]:
    archive, watcher = Archive(chain, FakeMeasure(chain)), Watcher()
    measuring = Measuring(IMAGES, evaluations)
    problem = refine(chain, archive, candidates, limits, measuring=measuring, observer=watcher)
    return archive, watcher, problem


def test_measurements_gather_at_the_limit(chain: Problem, candidates: Choices) -> None:
    """The proxy is wrong by a factor of two at first; the refit finds that, and the best plan spends the limit."""
    limits = Budget(drop_points=2.0)
    archive, watcher, problem = refined(chain, candidates, limits, 12)
    assert len(archive) == 12
    assert watcher.done == 12
    best = archive.best(limits, IMAGES)
    assert best is not None
    assert 1.5 <= best.drop_points <= 2.0
    assert [entry.objective for entry in watcher.better] == sorted((e.objective for e in watcher.better), reverse=True)
    assert watcher.better[-1].key == best.key
    assert problem.predicted_drop(best.choice) == pytest.approx(best.drop_points, abs=0.4)


def test_hopeless_plans_stop_early_and_count_as_losing_at_least_so_much(chain: Problem, candidates: Choices) -> None:
    """The proxy is ten times too hopeful, so that the first plans lose far more than the limit."""
    limits, archive = Budget(drop_points=1.0), Archive(chain, FakeMeasure(chain, steepness=20.0))
    refine(chain, archive, candidates, limits, measuring=Measuring(IMAGES, 12), observer=Silent())
    stopped = [entry for entry in archive.measurements if entry.stopped]
    assert stopped
    truth = Archive(chain, FakeMeasure(chain, steepness=20.0))
    for entry in archive.measurements:
        full = truth.evaluate(entry.choice, IMAGES)
        assert limits.satisfied_by(full.cost) == limits.satisfied_by(entry.cost)
        assert entry.drop_points <= full.drop_points
    assert archive.images_saved == sum(IMAGES - entry.images_run for entry in stopped)
    best = archive.best(limits, IMAGES)
    assert best is not None
    assert best.drop_points >= 0.5


def test_more_evaluations_are_never_worse_and_repeat(chain: Problem, candidates: Choices) -> None:
    limits = Budget(drop_points=1.0)
    few, many, again = (refined(chain, candidates, limits, count)[0] for count in (5, 10, 10))
    assert [entry.key for entry in many.measurements] == [entry.key for entry in again.measurements]
    assert [entry.key for entry in many.measurements[:5]] == [entry.key for entry in few.measurements]


def test_an_earlier_archive_counts(chain: Problem, candidates: Choices) -> None:
    archive = Archive(chain, FakeMeasure(chain))
    for plan in candidates[::20][:3]:
        archive.evaluate(plan, IMAGES)
    before = len(archive)
    refine(chain, archive, candidates, Budget(drop_points=1.0), measuring=Measuring(IMAGES, 6), observer=Silent())
    assert before < len(archive) == 6


def test_cost_limits_bind(chain: Problem, candidates: Choices) -> None:
    limits = Budget(drop_points=20.0, energy_uj=0.6 * float(chain.baseline.energy_uj[0]))
    archive, _, _ = refined(chain, candidates, limits, 6)
    best = archive.best(limits, IMAGES)
    assert best is not None
    assert best.cost.energy_uj <= limits.energy_uj


def test_unreachable_costs_are_infeasible(chain: Problem, candidates: Choices) -> None:
    with pytest.raises(InfeasibleError, match="--max-energy-uj"):
        refined(chain, candidates, Budget(drop_points=1.0, energy_uj=1e-6), 6)


def test_a_deadline_ends_measuring(chain: Problem, candidates: Choices) -> None:
    archive = Archive(chain, FakeMeasure(chain))
    measuring = Measuring(IMAGES, 10, deadline=0.0)
    refine(chain, archive, candidates, Budget(drop_points=1.0), measuring=measuring, observer=Silent())
    assert len(archive) == 0


def test_fitted_leaves_an_unmeasured_problem_alone(chain: Problem) -> None:
    assert fitted(chain, Archive(chain, FakeMeasure(chain)), IMAGES) is chain
