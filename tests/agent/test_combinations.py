"""Limits in every combination, on the chain of layers whose channels hang together."""

import itertools

import numpy as np
import pytest

from agent.landing import Lander
from agent.limits import Bounds
from agent.searchers.protocol import Silent, Stop
from agent.searchers.registry import new_searcher
from agent.steps import Stepper
from envs.problem import Problem
from plan.budget import Budget

QUANTITIES = ("drop_points", "energy_uj", "latency_ms", "size_kb")
SUBSETS = [part for size in range(5) for part in itertools.combinations(QUANTITIES, size)]


@pytest.fixture(scope="module")
def reachable(chain: Problem) -> Budget:
    """Returns limits that one greedy plan keeps all together, a little loosened."""
    plans = new_searcher("greedy").search(chain, Budget(), stop=Stop(1, 1), seed=0, observer=Silent())
    metrics = chain.evaluate(plans)
    middle = int(np.abs(metrics.drop_points - 3.0).argmin())
    found = metrics.budget(middle)
    return Budget(*(1.3 * getattr(found, name) for name in QUANTITIES))


def only(limits: Budget, names: tuple[str, ...]) -> Budget:
    return Budget(**{name: getattr(limits, name) for name in names})


@pytest.mark.parametrize("names", SUBSETS, ids="-".join)
def test_landing_keeps_any_combination_of_limits(chain: Problem, reachable: Budget, names: tuple[str, ...]) -> None:
    limits = only(reachable, names)
    lander = Lander(chain, Stepper(chain, Bounds.of(chain, limits).limited_costs))
    plans = new_searcher("greedy").search(chain, limits, stop=Stop(1, 1), seed=0, observer=Silent())
    bounds, metrics = Bounds.of(chain, limits), chain.evaluate(plans)
    nearest = np.lexsort((chain.objective_value(metrics), bounds.excess(metrics)))[0]
    landed = lander.land(plans[nearest], limits)
    assert landed.feasible
    assert all(getattr(landed.metrics, name)[0] <= getattr(limits, name) * (1 + 1e-6) for name in names)
    chain.space.check(landed.choice)
