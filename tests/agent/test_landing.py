from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.landing import Lander
from agent.limits import Bounds, infeasible
from agent.steps import Stepper
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import InfeasibleError


@pytest.fixture(scope="module")
def chain_lander(chain: Problem) -> Lander:
    return Lander(chain, Stepper(chain, (0, 1, 2)))


@given(seed=st.integers(0, 2**32 - 1), points=st.floats(0.3, 20.0))
@settings(max_examples=20)
def test_landed_plans_are_legal_and_within_the_drop(chain_lander: Lander, seed: int, points: float) -> None:
    """Enough bits keep any drop of 0.3 points and more, so every landing must succeed."""
    problem = chain_lander.problem
    start = problem.space.sample(np.random.default_rng(seed), 1)[0]
    landed = chain_lander.land(start, Budget(drop_points=points), exchanges=2)
    problem.space.check(landed.choice)
    again = problem.evaluate(landed.choice[None])
    assert landed.feasible
    assert again.drop_points[0] <= points * (1 + 1e-6)
    assert problem.objective_value(again)[0] == pytest.approx(landed.objective)


def test_slack_is_spent(chain_lander: Lander) -> None:
    dense = chain_lander.problem.space.start
    mild, strong = (chain_lander.land(dense, Budget(drop_points=points)) for points in (0.5, 5.0))
    assert strong.objective < mild.objective < 1.0


def test_cost_limits_are_kept_together_with_the_drop(chain_lander: Lander) -> None:
    base = chain_lander.problem.baseline
    limits = Budget(drop_points=6.0, latency_ms=0.8 * base.latency_ms[0], size_kb=0.7 * base.size_kb[0])
    landed = chain_lander.land(chain_lander.problem.space.start, limits)
    assert landed.feasible
    assert limits.satisfied_by(replace(landed.metrics.budget(0), drop_points=5.9))


def test_unreachable_limits_are_told(chain_lander: Lander) -> None:
    landed = chain_lander.land(chain_lander.problem.space.start, Budget(drop_points=0.3, energy_uj=1e-6))
    assert not landed.feasible
    assert landed.excess > 0


def test_exchange_helps_where_single_steps_are_stuck(chain_lander: Lander) -> None:
    start = chain_lander.problem.space.sample(np.random.default_rng(3), 1)[0]
    limits = Budget(drop_points=3.0)
    single, pairs = chain_lander.land(start, limits, exchanges=0), chain_lander.land(start, limits)
    assert pairs.feasible
    assert pairs.objective <= single.objective


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_every_step_is_legal(chain: Problem, chain_lander: Lander, seed: int) -> None:
    plan = chain.space.sample(np.random.default_rng(seed), 1)[0]
    steps = chain_lander.stepper.steps(plan)
    for changed in chain_lander.stepper.applied(plan, steps)[:: max(len(steps) // 50, 1)]:
        chain.space.check(changed)
    order = np.random.default_rng(seed).permutation(len(steps))
    for run in chain_lander.stepper.runs(plan, steps, chain_lander.stepper.compatible(order, steps)):
        chain.space.check(run)


def test_bounds_measure_the_excess(toy: Problem) -> None:
    bounds = Bounds.of(toy, Budget(drop_points=1.0, energy_uj=1.0))
    metrics = toy.evaluate(toy.space.start[None])
    assert bounds.use(metrics)[0] == pytest.approx([0.0, 1.11, 0.0, 0.0])
    assert bounds.excess(metrics) == pytest.approx([0.11])
    assert bounds.limited_costs == (0,)


def test_infeasible_names_limit_and_nearest(toy: Problem) -> None:
    error = infeasible(toy, Budget(drop_points=1.0, latency_ms=5.0), Budget(0.5, 1.11, 1110.0, 3.0))
    assert isinstance(error, InfeasibleError)
    assert "--max-latency-ms 5" in str(error)
    assert "latency_ms 1110" in str(error)
    assert "--max-drop" not in str(error)
