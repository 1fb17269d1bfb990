"""The final choice is made by all images, and is not fooled by luck on those that the search saw."""

import time

import numpy as np
import pytest

from agent.exploration import jittered_plans
from agent.finalists import Candidates, Round, choose
from envs.accuracy.archive import Archive
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import InfeasibleError
from plan.scheme import Scheme

SEARCHED, ALL = 400, 1000


class Lucky:
    """Plans lose what is predicted on the images past the first 400, and nothing on those."""

    images_id = "lucky"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        plan = self.problem.space.choice(schemes)
        lost = round(float(self.problem.evaluate(plan[None]).drop_points[0]) / 100 * (ALL - SEARCHED))
        right = np.ones(ALL, dtype=np.bool_)
        right[SEARCHED : SEARCHED + lost] = False
        return right[:images]


def searched(problem: Problem) -> Archive:
    archive = Archive(problem, Lucky(problem))
    plans = np.unique(jittered_plans(problem, np.random.default_rng(0), 60), axis=0)
    for plan in plans:
        archive.evaluate(plan, SEARCHED)
    return archive


def test_the_cheapest_plan_that_really_keeps_the_limit_is_found(chain: Problem) -> None:
    archive, limits = searched(chain), Budget(drop_points=1.0)
    tried: list[int] = []
    best = choose(chain, archive, Round(limits, SEARCHED, ALL, 8, closes=False), tried.append)
    assert best.images == ALL
    assert best.drop_points <= 1.0
    truth = Lucky(chain)
    drops = {
        entry.key: 100 - truth.correct(chain.space.schemes(entry.choice), ALL).mean() * 100
        for entry in archive.on(SEARCHED)
    }
    cheapest = min(entry.objective for entry in archive.on(SEARCHED) if drops[entry.key] <= 1.0)
    assert best.objective == cheapest
    assert tried == list(range(1, len(tried) + 1))
    assert len(tried) <= 8


def test_landed_finalists_are_no_dearer_than_the_best_that_was_searched(chain: Problem) -> None:
    limits, told = Budget(drop_points=1.0), list[int]()
    before = choose(chain, searched(chain), Round(limits, SEARCHED, ALL, 8, closes=False), lambda done: None)
    archive = searched(chain)
    best = choose(chain, archive, Round(limits, SEARCHED, ALL, 8), told.append)
    assert best.objective <= before.objective
    assert best.drop_points <= 1.0
    assert told == list(range(1, len(told) + 1))
    assert len(archive.on(ALL)) == len(told) <= 8


class Sure(Lucky):
    """When 400 images run, the answers speak of all, and miss `missed` points of what plans lose."""

    def __init__(self, problem: Problem, missed: float) -> None:
        super().__init__(problem)
        self.missed = missed

    def dense(self, images: int) -> np.ndarray:
        return np.ones(ALL, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        plan = self.problem.space.choice(schemes)
        points = float(self.problem.evaluate(plan[None]).drop_points[0]) - (self.missed if images < ALL else 0.0)
        return np.arange(ALL) >= round(max(points, 0.0) / 100 * ALL)


@pytest.mark.parametrize("missed", [0.0, 0.5])
def test_what_speaks_of_all_images_is_confirmed_from_the_cheapest_on(chain: Problem, missed: float) -> None:
    archive, limits = Archive(chain, Sure(chain, missed)), Budget(drop_points=1.0)
    for plan in np.unique(jittered_plans(chain, np.random.default_rng(0), 60), axis=0):
        archive.evaluate(plan, SEARCHED)
    by_search = sorted(entry.objective for entry in archive.on(SEARCHED) if entry.drop_points <= 1.0)
    best = choose(chain, archive, Round(limits, SEARCHED, ALL, 12), lambda done: None)
    tried = [entry.objective for entry in archive.on(ALL)]
    assert tried == by_search[: len(tried)]
    assert best.objective == tried[-1]
    assert best.drop_points <= 1.0
    assert (len(tried) == 1) == (missed == 0.0)


def test_a_limit_that_nothing_keeps_is_told(chain: Problem) -> None:
    archive = searched(chain)
    limits = Budget(drop_points=1.0, energy_uj=1e-12)
    with pytest.raises(InfeasibleError, match="--max-energy-uj"):
        choose(chain, archive, Round(limits, SEARCHED, ALL, 3), lambda done: None)


def test_without_more_images_nothing_is_measured_again(chain: Problem) -> None:
    archive = searched(chain)
    before = len(archive)
    best = choose(chain, archive, Round(Budget(drop_points=1.0), SEARCHED, SEARCHED, 8), lambda done: None)
    assert len(archive) == before
    assert best == archive.best(Budget(drop_points=1.0), SEARCHED)


def candidates(problem: Problem, objective: list[float], drop: list[float], spread: list[float]) -> Candidates:
    choices = np.stack([problem.space.start + row for row in range(len(objective))])
    return Candidates(choices, np.array(objective), np.array(drop), np.array(spread))


def test_the_plan_that_promises_most_is_measured_next(chain: Problem) -> None:
    best = searched(chain).best(Budget(drop_points=1.0), SEARCHED)
    assert best is not None
    saved = best.objective
    sure_but_small, even = (saved - 0.02, 0.5), (saved - 0.05, 1.0)
    unlikely = (saved - 0.08, 1.6)
    pool = candidates(chain, *map(list, zip(sure_but_small, even, unlikely, strict=True)), [0.2, 0.2, 0.2])
    assert (pool.following(1.0, best) == pool.choices[1]).all()
    assert (pool.following(2.0, best) == pool.choices[2]).all()
    assert (pool.following(0.5, best) == pool.choices[0]).all()


def test_nothing_is_measured_that_promises_nothing(chain: Problem) -> None:
    best = searched(chain).best(Budget(drop_points=1.0), SEARCHED)
    assert best is not None
    pool = candidates(chain, [best.objective + 0.1, best.objective - 0.1], [0.1, 9.0], [0.2, 0.2])
    assert pool.following(1.0, best) is None
    hopeless = candidates(chain, [0.5, 0.4], [8.0, 9.0], [0.2, 0.2])
    assert (hopeless.following(1.0, None) == hopeless.choices[0]).all()
    assert candidates(chain, [0.5], [0.0], [0.2]).following(np.inf, None) is not None


def test_after_the_deadline_the_first_that_keeps_the_limit_is_enough(chain: Problem) -> None:
    archive = searched(chain)
    late = Round(Budget(drop_points=1.0), SEARCHED, ALL, 12, deadline=time.monotonic() - 1.0)
    best = choose(chain, archive, late, lambda done: None)
    kept = [entry for entry in archive.on(ALL) if entry.drop_points <= 1.0]
    assert kept == [best]
    assert archive.on(ALL)[-1] == best
