"""With the finalists' measurements that are left, plans close in on the limit from either side."""

import numpy as np
import pytest

from agent.closing import AIM, CLOSE, cheapest_kept, close_in, next_target
from agent.exploration import jittered_plans, nearest
from envs.accuracy.archive import Archive
from envs.problem import Problem
from plan.budget import Budget
from plan.scheme import Scheme

IMAGES = 4000
LIMITS = Budget(drop_points=1.0)


class Steeper:
    """Plans lose `factor` times what is predicted."""

    def __init__(self, problem: Problem, factor: float) -> None:
        self.problem = problem
        self.factor = factor
        self.images_id = f"steeper {factor}"

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        plan = self.problem.space.choice(schemes)
        points = self.factor * float(self.problem.evaluate(plan[None]).drop_points[0])
        return np.arange(images) >= round(min(points, 100.0) / 100.0 * images)


def measured(problem: Problem, factor: float, predicted: tuple[float, ...]) -> Archive:
    """Returns an archive of plans predicted to lose about that many points, none of them landed."""
    archive = Archive(problem, Steeper(problem, factor))
    pool = jittered_plans(problem, np.random.default_rng(0), 400)
    for choice in nearest(problem, pool, np.array(predicted)):
        archive.evaluate(choice, IMAGES)
    return archive


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.6])
def test_four_measurements_lead_close_under_the_limit(chain: Problem, factor: float) -> None:
    archive = measured(chain, factor, (0.3, 2.5))
    before, told = cheapest_kept(archive.on(IMAGES), LIMITS), list[int]()
    best = close_in(chain, archive, LIMITS, images=IMAGES, attempts=4, tick=told.append)
    assert before is not None
    assert best is not None
    assert best.objective < before.objective
    assert 0.85 <= best.drop_points <= 1.0
    assert told == list(range(1, len(told) + 1))
    assert len(archive) == 2 + len(told) <= 6
    chain.space.check(best.choice)


def test_a_plan_is_found_below_finalists_that_all_lost_too_much(chain: Problem) -> None:
    archive = measured(chain, 3.0, (0.6, 2.0))
    assert cheapest_kept(archive.on(IMAGES), LIMITS) is None
    best = close_in(chain, archive, LIMITS, images=IMAGES, attempts=4, tick=lambda done: None)
    assert best is not None
    assert best.drop_points <= 1.0


def test_limits_on_costs_are_kept_on_the_way(chain: Problem) -> None:
    archive = measured(chain, 1.0, (0.3, 2.5))
    room = 0.5 * float(chain.baseline.size_kb[0])
    limits = Budget(drop_points=1.0, size_kb=room)
    best = close_in(chain, archive, limits, images=IMAGES, attempts=4, tick=lambda done: None)
    assert best is None or best.cost.size_kb <= room


def test_targets_by_hand(chain: Problem) -> None:
    archive = measured(chain, 1.5, (0.4, 1.2))
    kept, broken = archive.on(IMAGES)
    low, high = (chain.predicted_drop(entry.choice) for entry in (kept, broken))
    share = (AIM - kept.drop_points) / (broken.drop_points - kept.drop_points)
    assert next_target(chain, (kept, broken), LIMITS) == pytest.approx(low + share * (high - low))
    assert next_target(chain, (kept,), LIMITS) == pytest.approx(low + AIM - kept.drop_points)
    assert next_target(chain, (broken,), LIMITS) == pytest.approx(AIM / broken.drop_points * high)


def test_a_plan_close_under_the_limit_ends_it(chain: Problem) -> None:
    archive = measured(chain, 1.0, (0.3,))
    entry = archive.on(IMAGES)[0]
    near = Budget(drop_points=entry.drop_points / (1 - 0.5 * CLOSE))
    assert next_target(chain, (entry,), near) is None
    before = len(archive)
    assert close_in(chain, archive, near, images=IMAGES, attempts=4, tick=lambda done: None) == entry
    assert len(archive) == before
