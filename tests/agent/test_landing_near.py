"""Landing prices steps by the layers that they touch: the same plans and figures as with whole plans priced."""

from dataclasses import fields

import numpy as np
import pytest

from agent.landing import Landed, Lander, _largest
from agent.limits import Bounds
from agent.steps import Stepper
from envs.problem import Metrics, Problem
from experiments.bench.env_speed import build_problem
from plan.budget import Budget
from plan.space import Choices

CASES = [
    *(("resnet20", hw) for hw in ("eyeriss", "mobile_cpu", "systolic", "bitfusion")),
    ("mobilenet_v2", "eyeriss"),
    ("densenet121", "mobile_cpu"),
]
"""Residual adds, depthwise layers, and concatenations; every datapath that prices differently."""


class Whole(Problem):
    """Prices all layers of every plan."""

    def evaluate(self, choices: Choices, near: Choices | None = None) -> Metrics:
        return super().evaluate(choices)


def landed(problem: Problem, limits: Budget) -> list[Landed]:
    lander = Lander(problem, Stepper(problem, Bounds.of(problem, limits).limited_costs))
    starts = (problem.space.start, problem.space.sample(np.random.default_rng(0), 1)[0])
    return [lander.land(start, limits, rounds=5, exchanges=2) for start in starts]


@pytest.mark.parametrize(("net", "hw"), CASES)
def test_landed_plans_are_those_of_whole_prices(net: str, hw: str) -> None:
    problem = build_problem(net, hw)
    whole = Whole(**{field.name: getattr(problem, field.name) for field in fields(Problem)})
    limits = Budget(drop_points=2.0, latency_ms=0.9 * float(problem.baseline.latency_ms[0]))
    for found, wanted in zip(landed(problem, limits), landed(whole, limits), strict=True):
        assert np.array_equal(found.choice, wanted.choice)
        assert (found.objective, found.excess) == (wanted.objective, wanted.excess)
        for field in fields(Metrics):
            assert np.array_equal(getattr(found.metrics, field.name), getattr(wanted.metrics, field.name))


def test_pairs_are_runs_of_two(chain: Problem) -> None:
    stepper, rng = Stepper(chain), np.random.default_rng(0)
    plan = chain.space.sample(rng, 1)[0]
    steps = stepper.steps(plan)
    pairs = rng.integers(len(steps), size=(400, 2))
    pairs = pairs[steps.layer[pairs[:, 0]] != steps.layer[pairs[:, 1]]]
    assert any(len(stepper.compatible(pair, steps)) == 1 for pair in pairs)
    runs = [stepper.runs(plan, steps, stepper.compatible(pair, steps))[-1] for pair in pairs]
    assert np.array_equal(stepper.both(plan, steps, pairs), runs)


def test_alternatives_depend_on_nothing_that_is_forgotten(chain: Problem) -> None:
    stepper, rng = Stepper(chain), np.random.default_rng(0)
    for plan in chain.space.sample(rng, 20):
        again, fresh = stepper.steps(plan), Stepper(chain).steps(plan)
        assert np.array_equal(again.choice, fresh.choice)
        assert np.array_equal(again.layer, fresh.layer)


def test_largest_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 5, 6, 400):
        values = rng.integers(0, 9, size).astype(np.float64)
        assert np.array_equal(_largest(values, 6), np.argsort(-values, kind="stable")[:6])
