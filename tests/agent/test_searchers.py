import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.config import METHODS
from agent.hyperparameters import Hyperparameters
from agent.limits import Bounds
from agent.measuring import Measuring
from agent.menu import build_menus, hull
from agent.searchers.amc import AmcSchool
from agent.searchers.composite import CompositeSearcher
from agent.searchers.extra import needs
from agent.searchers.frontier import predicted_frontier
from agent.searchers.genome import decode, encode
from agent.searchers.haq import HaqSchool
from agent.searchers.ilp import Program
from agent.searchers.protocol import Silent, Stop
from agent.searchers.registry import SEARCHERS, measuring_searcher, measuring_searchers, new_searcher
from agent.searchers.rules import ladder
from envs.accuracy.archive import Archive
from envs.pareto import undominated
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import InvalidValueError, MissingExtraError
from tests.agent.falling import Falling

TOY_CHOICES = ((0, 31, 1, 0), (0, 31, 0, 0), (1, 15, 1, 0), (1, 15, 0, 0))
FEW, FEWER = Stop(steps=600, evaluations=1), Stop(steps=150, evaluations=1)
SLOW = ("amc", "haq")
EXTRAS = {"nsga2": "pymoo", "tpe": "optuna"}
IMAGES = 400


def needs_extra(name: str) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"{name} needs espalier[searchers]")


def search(name: str, problem: Problem, limits: Budget, seed: int = 0) -> np.ndarray:
    needs_extra(name)
    stop = FEWER if name in SLOW else FEW
    return new_searcher(name).search(problem, limits, stop=stop, seed=seed, observer=Silent())


def measured(name: str, problem: Problem, seed: int = 0, evaluations: int = 16) -> Archive:
    needs_extra(name)
    archive, limits = Archive(problem, Falling(problem)), Budget(drop_points=2.0)
    measuring = Measuring(IMAGES, evaluations)
    measuring_searcher(name).measure(archive, limits, measuring=measuring, seed=seed, observer=Silent())
    return archive


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


@pytest.mark.parametrize("name", measuring_searchers())
def test_measured_searches_spend_what_they_may_on_legal_plans(chain: Problem, name: str) -> None:
    archive = measured(name, chain)
    assert (8 if name in SLOW else 16) <= len(archive) <= 16
    for entry in archive.measurements:
        chain.space.check(entry.choice)
    assert min(entry.objective for entry in archive.measurements) < 0.9


@pytest.mark.parametrize("name", measuring_searchers())
def test_measured_searches_repeat_and_leave_global_randomness_alone(chain: Problem, name: str) -> None:
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    first, second = (measured(name, chain, seed=5, evaluations=8) for _ in range(2))
    assert [entry.key for entry in first.measurements] == [entry.key for entry in second.measurements]
    after = np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    assert before == after


def test_searchers_on_predictions_refuse_to_do_without() -> None:
    with pytest.raises(InvalidValueError, match="ilp searches on predictions"):
        measuring_searcher("ilp")
    assert set(measuring_searchers()) == {"random", "nsga2", "tpe", "amc", "haq", "rules"}


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs pymoo.*espalier\[searchers\]"):
        needs("pymoo", "nsga2")


def test_every_method_of_the_command_is_registered() -> None:
    assert list(METHODS) == SEARCHERS.names()


def test_plans_survive_the_way_through_vectors(chain: Problem) -> None:
    plans = chain.space.sample(np.random.default_rng(2), 64)
    assert decode(chain.space, encode(chain.space, plans)).tobytes() == plans.tobytes()


def test_every_vector_is_a_legal_plan(chain: Problem) -> None:
    corners = np.random.default_rng(3).choice([0.0, 1.0, 0.5, 0.999999], size=(64, 4 * chain.space.n_layers))
    for plan in decode(chain.space, corners):
        chain.space.check(plan)


def test_nsga2_finds_the_toys_optima(toy: Problem) -> None:
    needs_extra("nsga2")
    plans = new_searcher("nsga2").search(toy, Budget(drop_points=2.0), stop=Stop(1500, 1), seed=0, observer=Silent())
    metrics = toy.evaluate(plans)
    objective = toy.objective_value(metrics)
    for points in (2.0, 5.5, 8.0):
        assert objective[metrics.drop_points <= points + 1e-6].min() == pytest.approx(brute_force(toy, points))


def test_amc_prunes_channels_alone_and_haq_bits_alone(chain: Problem) -> None:
    for entry in measured("amc", chain).measurements:
        assert (entry.choice[:, 2:] == chain.space.start[:, 2:]).all()
    for entry in measured("haq", chain).measurements:
        assert (entry.choice[:, :2] == chain.space.start[:, :2]).all()
        assert (entry.choice[[0, -1], 2] == chain.space.start[[0, -1], 2]).all()


def test_pupils_keep_their_budgets(chain: Problem) -> None:
    for school in (AmcSchool(chain), HaqSchool(chain)):
        budget = (school.least + 1.0) / 2
        pupil = school.pupil(budget, 4, 0)
        for _ in range(4):
            plan = pupil.play()
            assert chain.objective_value(chain.evaluate(plan[None]))[0] <= budget + 1e-9
            pupil.reward(1.0)


def test_rules_go_from_mild_to_strong_and_spare_the_ends(chain: Problem) -> None:
    plans = ladder(chain.space)
    objective = chain.objective_value(chain.evaluate(plans))
    assert objective.max() == pytest.approx(1.0)
    assert objective.min() < 0.5
    assert (plans[:, [0, -1], :3] == chain.space.start[[0, -1], :3]).all()


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
