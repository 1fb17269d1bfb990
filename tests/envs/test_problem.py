from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import OBJECTIVE_WEIGHTS, Metrics, Problem
from plan.errors import MismatchError, UnknownNameError


def test_toy_prices_by_hand(toy: Problem) -> None:
    choices = toy.space.start[None].copy()
    choices[0, 0] = (1, 15, 1, 0)
    choices[0, 1, 2] = 0
    metrics = toy.evaluate(choices)
    assert metrics.energy_uj == pytest.approx([0.5 + 0.05 + 0.01])
    assert metrics.latency_ms == pytest.approx([500 + 100 + 10])
    assert metrics.error == pytest.approx([0.02 + 0.004])
    assert metrics.drop_points == pytest.approx([2.4])


def test_baseline_is_one_in_every_objective(coupled: Problem) -> None:
    for objective in OBJECTIVE_WEIGHTS:
        problem = replace(coupled, objective=objective)
        assert problem.objective_value(problem.baseline) == pytest.approx([1.0])


def test_edp_is_the_product(coupled: Problem) -> None:
    choices = coupled.space.sample(np.random.default_rng(0), 8)
    values = {name: replace(coupled, objective=name) for name in OBJECTIVE_WEIGHTS}
    metrics = coupled.evaluate(choices)
    product = values["energy"].objective_value(metrics) * values["latency"].objective_value(metrics)
    assert values["edp"].objective_value(metrics) == pytest.approx(product)


@given(seed=st.integers(0, 2**32 - 1), plans=st.integers(1, 6))
def test_batch_equals_loop(coupled: Problem, seed: int, plans: int) -> None:
    choices = coupled.space.sample(np.random.default_rng(seed), plans)
    together = coupled.evaluate(choices)
    alone = [coupled.evaluate(choice[None]) for choice in choices]
    for name in Metrics.__dataclass_fields__:
        np.testing.assert_allclose(getattr(together, name), [getattr(one, name)[0] for one in alone], rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_undecided_counts_as_start(coupled: Problem, seed: int) -> None:
    rng = np.random.default_rng(seed)
    choices = coupled.space.sample(rng, 1)
    later = int(rng.integers(1, coupled.space.n_layers))
    choices[:, later:] = -1
    filled = coupled.space.filled(choices)
    readers = coupled.space.deciders.reader[later:]
    decided = readers < later
    filled[:, later:][:, decided, 3] = choices[:, readers[decided], 3]
    assert coupled.evaluate(choices).costs() == pytest.approx(coupled.evaluate(filled).costs())


def test_other_calibration_keeps_the_table(coupled: Problem) -> None:
    table = coupled.table
    changed = coupled.with_calibration(Calibration(log_points=(0.0,)))
    assert changed.table is table
    assert changed.start.drop_points < coupled.start.drop_points


def test_unknown_objective(toy: Problem) -> None:
    with pytest.raises(UnknownNameError, match="known: energy, latency, edp, size"):
        replace(toy, objective="speed")  # type: ignore[arg-type]


def test_table_of_another_space(toy: Problem, coupled_errors: ErrorTable) -> None:
    with pytest.raises(MismatchError, match="does not fit"):
        replace(toy, errors=coupled_errors)


def test_illegal_cells_cost_infinity(coupled: Problem) -> None:
    choices = coupled.space.start[None].copy()
    choices[0, 0, 1] = 3
    assert np.isinf(coupled.evaluate(choices).error[0])
    assert coupled.evaluate(choices).drop_points[0] == 100.0
