"""Plans are landed on the limit as measurements on all images show it to lie."""

import numpy as np

from agent.closing import AIMS, Closer
from agent.exploration import jittered_plans, nearest
from envs.accuracy.archive import Archive
from envs.problem import Problem
from plan.budget import Budget
from plan.scheme import Scheme

IMAGES = 4000
LIMITS = Budget(drop_points=1.0)


class AsPredicted:
    """Plans lose what is predicted."""

    images_id = "as predicted"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        points = float(self.problem.evaluate(self.problem.space.choice(schemes)[None]).drop_points[0])
        return np.arange(images) >= round(min(points, 100.0) / 100.0 * images)


def measured(problem: Problem, predicted: tuple[float, ...]) -> Archive:
    """Returns an archive of plans predicted to lose about that many points, none of them landed."""
    archive = Archive(problem, AsPredicted(problem))
    pool = jittered_plans(problem, np.random.default_rng(0), 400)
    for choice in nearest(problem, pool, np.array(predicted)):
        archive.evaluate(choice, IMAGES)
    return archive


def test_landed_plans_gain_on_what_they_started_from(chain: Problem) -> None:
    archive = measured(chain, (0.3, 2.5))
    best = archive.best(LIMITS, IMAGES)
    landed = Closer(chain, LIMITS).landed(best, archive.on(IMAGES), 0.0)
    assert best is not None
    assert min(plan.objective for plan in landed) < best.objective
    for plan in landed:
        chain.space.check(plan.choice)
        assert chain.predicted_drop(plan.choice) <= max(AIMS) * LIMITS.drop_points + 1e-6
    assert len({plan.choice.tobytes() for plan in landed}) == len(landed)


def test_a_bias_moves_the_targets(chain: Problem) -> None:
    archive = measured(chain, (0.3, 2.5))
    best, found = archive.best(LIMITS, IMAGES), archive.on(IMAGES)
    landed = Closer(chain, LIMITS).landed(best, found, 0.5)
    assert 0.2 < max(chain.predicted_drop(plan.choice) for plan in landed) <= 0.5 + 1e-6
    assert Closer(chain, LIMITS).landed(best, found, 1.0) == []


def test_limits_on_costs_are_kept(chain: Problem) -> None:
    archive = measured(chain, (0.3, 2.5))
    room = 0.5 * float(chain.baseline.size_kb[0])
    limits = Budget(drop_points=1.0, size_kb=room)
    landed = Closer(chain, limits).landed(archive.best(limits, IMAGES), archive.on(IMAGES), 0.0)
    assert landed
    assert all(chain.evaluate(plan.choice[None]).size_kb[0] <= room for plan in landed)
