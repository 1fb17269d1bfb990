import itertools
from pathlib import Path

import numpy as np
import pytest

from agent.hyperparameters import Hyperparameters
from agent.limits import Bounds
from agent.menu import build_menus, hull, undominated
from agent.searchers import SEARCHERS
from agent.searchers.composite import CompositeSearcher
from agent.searchers.frontier import predicted_frontier
from agent.searchers.ilp import Program
from agent.searchers.protocol import Silent, Stop
from envs.problem import Problem
from plan.budget import Budget

TOY_CHOICES = ((0, 31, 1, 0), (0, 31, 0, 0), (1, 15, 1, 0), (1, 15, 0, 0))
FEW = Stop(steps=600, evaluations=1)


def search(name: str, problem: Problem, limits: Budget, seed: int = 0) -> np.ndarray:
    return SEARCHERS.get(name).search(problem, limits, stop=FEW, seed=seed, observer=Silent())


def brute_force(problem: Problem, points: float) -> float:
    """Returns the least objective of all 64 plans of the toy within a predicted drop."""
    plans = np.array(list(itertools.product(TOY_CHOICES, repeat=3)), dtype=np.int16)
    metrics = problem.evaluate(plans)
    return float(problem.objective_value(metrics)[metrics.drop_points <= points * (1 + 1e-6)].min())


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_candidates_are_legal_and_undominated(chain: Problem, name: str) -> None:
    plans = search(name, chain, Budget(drop_points=2.0))
    for plan in plans:
        chain.space.check(plan)
    metrics = chain.evaluate(plans)
    objective = chain.objective_value(metrics)
    assert (np.diff(objective) > 0).all()
    assert (np.diff(metrics.error) < 0).all()
    assert objective.min() < 0.9


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_same_seed_gives_the_same_candidates(chain: Problem, name: str) -> None:
    first, second = (search(name, chain, Budget(drop_points=2.0), seed=3) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("points", [0.2, 0.35, 1.0, 2.0, 5.0, 5.5, 8.0])
def test_ilp_equals_brute_force(toy: Problem, points: float) -> None:
    program = Program(toy, build_menus(toy))
    plan = program.solve(Bounds.of(toy, Budget(drop_points=points)).upper)
    assert plan is not None
    metrics = toy.evaluate(plan[None])
    assert toy.objective_value(metrics)[0] == pytest.approx(brute_force(toy, points))
    assert metrics.drop_points[0] <= points * (1 + 1e-6)


def test_ilp_keeps_limits_on_costs(toy: Problem) -> None:
    """Halving the latency takes 2:4 in the first layer at least: 500 + 100 + 10 of 1,110 ms."""
    program = Program(toy, build_menus(toy, (1,)))
    plan = program.solve(np.array((0.1, np.inf, 700.0, np.inf)))
    assert plan is not None
    assert toy.evaluate(plan[None]).latency_ms[0] <= 700.0
    assert program.solve(np.array((0.1, np.inf, 100.0, np.inf))) is None


def test_ilp_never_prunes_a_group_twice(chain: Problem) -> None:
    """With cheap pruning everywhere, producers' filters and consumers' channels compete for every group."""
    program = Program(chain, build_menus(chain))
    for error in (0.02, 0.1, 0.3):
        plan = program.solve(np.array((error, np.inf, np.inf, np.inf)))
        assert plan is not None
        chain.space.check(plan)


def test_composite_finds_the_toys_optima(toy: Problem) -> None:
    plans = search("composite", toy, Budget(drop_points=2.0))
    metrics = toy.evaluate(plans)
    objective = toy.objective_value(metrics)
    for points in (2.0, 5.5, 8.0):
        assert objective[metrics.drop_points <= points + 1e-6].min() == pytest.approx(brute_force(toy, points))


def test_composite_continues_from_its_checkpoint(toy: Problem, tmp_path: Path) -> None:
    hyper = Hyperparameters(rollout_decisions=192, replay_decisions=1024, hidden=8)
    limits = Budget(drop_points=2.0)
    whole = CompositeSearcher(hyper).search(toy, limits, stop=Stop(768, 1), seed=0, observer=Silent())
    parts = CompositeSearcher(hyper, tmp_path)
    parts.search(toy, limits, stop=Stop(384, 1), seed=0, observer=Silent())
    resumed = parts.search(toy, limits, stop=Stop(768, 1), seed=0, observer=Silent())
    assert resumed.tobytes() == whole.tobytes()


def test_frontier_is_thinned_evenly(toy: Problem) -> None:
    plans = np.array(list(itertools.product(TOY_CHOICES, repeat=3)), dtype=np.int16)
    every, few = predicted_frontier(toy, plans), predicted_frontier(toy, plans, most=3)
    assert len(few) == 3
    assert few[0].tobytes() == every[0].tobytes()
    assert few[-1].tobytes() == every[-1].tobytes()


def test_undominated_and_hull_by_hand() -> None:
    """Points (cost, error): (0,9) (1,8) (2,3) (3,4) (4,0); the fourth is dominated, the second lies above the hull."""
    costs, errors = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([9.0, 8.0, 3.0, 4.0, 0.0])
    assert undominated(costs, errors).tolist() == [0, 1, 2, 4]
    assert hull(costs, errors).tolist() == [0, 2, 4]
