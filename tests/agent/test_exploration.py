"""Plans chosen before and after a search: legal, spread as asked, and never a measured one again."""

import numpy as np

from agent.exploration import additive_plans, jittered_plans, nearest
from agent.held_out import crossed_plans, held_out_plans, study
from envs.accuracy.archive import Archive
from envs.problem import Problem
from plan.scheme import Scheme
from plan.space import ACTIVATION_BITS, METHOD


class ByError:
    """Accuracy that follows the predicted drop exactly."""

    images_id = "by error"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        plan = self.problem.space.choice(schemes)
        drop = float(self.problem.evaluate(plan[None]).drop_points[0])
        return np.arange(images) >= round(drop / 100 * images)


def test_additive_plans_are_each_layers_best(toy: Problem) -> None:
    free = additive_plans(toy, np.zeros((1, 3)))
    assert toy.objective_value(toy.evaluate(free))[0] == min(
        toy.objective_value(toy.evaluate(toy.space.sample(np.random.default_rng(0), 500)))
    )
    dear = additive_plans(toy, np.full((1, 3), 1e9))
    assert toy.evaluate(dear).error[0] == toy.evaluate(toy.space.baseline[None]).error[0]


def test_jittered_plans_are_legal_and_spread(chain: Problem) -> None:
    plans = jittered_plans(chain, np.random.default_rng(0), 200)
    for plan in plans:
        chain.space.check(plan)
    drops = chain.evaluate(plans).drop_points
    assert drops.min() < 0.1
    assert drops.max() > 5


def test_nearest_picks_none_twice(chain: Problem) -> None:
    plans = np.unique(jittered_plans(chain, np.random.default_rng(0), 200), axis=0)
    picked = nearest(chain, plans, np.array([1.0, 1.0, 1.0, 5.0]))
    assert len(np.unique(picked, axis=0)) == 4
    drops = chain.evaluate(picked).drop_points
    assert abs(drops[3] - 5.0) < abs(drops[0] - 5.0)


def test_crossed_plans_are_legal_and_made_of_their_parents(chain: Problem) -> None:
    space, rng = chain.space, np.random.default_rng(1)
    parents = space.sample(rng, 6)
    assert space.geometry.is_channel[parents[:, :, METHOD]].any()
    crossed = crossed_plans(space, parents, rng, 100)
    for plan in crossed:
        space.check(plan)
    own = crossed[:, None, :, :ACTIVATION_BITS] == parents[None, :, :, :ACTIVATION_BITS]
    assert own.all(axis=3).any(axis=1).all()
    assert not own.all(axis=(2, 3)).any(axis=1).all()


def test_held_out_plans_were_not_measured(chain: Problem) -> None:
    archive = Archive(chain, ByError(chain))
    for plan in jittered_plans(chain, np.random.default_rng(0), 12):
        archive.evaluate(plan, 1000)
    plans = held_out_plans(chain, archive, np.random.default_rng(0), 10)
    assert 3 <= len(plans) <= 10
    assert all(archive.known(plan, 1000) is None for plan in plans)
    before = len(archive)
    found = study(chain, archive, plans, 1000, lambda done: None)
    assert len(archive) == before
    assert found.found.spearman > 0.99
    assert found.found.mean_absolute_error_points < 0.06
    assert found.to_json()["images"] == 1000
