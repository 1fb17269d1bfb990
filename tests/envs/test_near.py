"""Plans priced by the layers in which they differ from another: the same to the last bit as priced whole."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import NEAR_AT_ONCE, Metrics, Problem
from hwmodels.loader import load, preset_names
from plan.cells import cells_near
from plan.space import UNDECIDED, Choices, Space, build_space
from tests.envs.conftest import coupled_network


def random_errors(space: Space) -> ErrorTable:
    rng = np.random.default_rng(0)
    shape = (*space.legal.shape, len(space.weight_bits))
    return ErrorTable(rng.random(shape), rng.random((space.n_layers, len(space.activation_bits))))


@pytest.fixture(scope="module", params=preset_names())
def priced(request: pytest.FixtureRequest) -> Problem:
    network, accelerator = coupled_network(), load(request.param)
    space = build_space(network, accelerator.capabilities, 16 if request.param == "eyeriss_v1" else 8)
    return Problem(network, accelerator, space, random_errors(space), Calibration(activation_share=0.7))


def changed(space: Space, plan: Choices, rng: np.random.Generator, plans: int, layers: int) -> Choices:
    """Returns copies of a plan with a few layers taken from random others; bits that are shared may not agree."""
    near, others = np.repeat(plan[None], plans, axis=0), space.sample(rng, plans)
    for row, other in zip(near, others, strict=True):
        taken = rng.integers(space.n_layers, size=layers)
        row[taken] = other[taken]
    return near


def assert_same(found: Metrics, wanted: Metrics) -> None:
    for field in fields(Metrics):
        assert np.array_equal(getattr(found, field.name), getattr(wanted, field.name)), field.name


@given(seed=st.integers(0, 2**32 - 1), plans=st.integers(0, 9), layers=st.integers(0, 3))
@settings(max_examples=25)
def test_near_prices_are_the_whole_ones(priced: Problem, seed: int, plans: int, layers: int) -> None:
    rng = np.random.default_rng(seed)
    near = priced.space.sample(rng, 1)[0]
    choices = changed(priced.space, near, rng, plans, layers)
    assert_same(priced.evaluate(choices, near), priced.evaluate(choices))


def test_nothing_need_be_near(priced: Problem) -> None:
    rng = np.random.default_rng(1)
    near, choices = priced.space.sample(rng, 1)[0], priced.space.sample(rng, 64)
    assert_same(priced.evaluate(choices, near), priced.evaluate(choices))


def test_more_plans_than_are_priced_at_once(coupled: Problem) -> None:
    rng = np.random.default_rng(2)
    near = coupled.space.sample(rng, 1)[0]
    choices = changed(coupled.space, near, rng, NEAR_AT_ONCE + 3, 1)
    assert_same(coupled.evaluate(choices, near), coupled.evaluate(choices))


def test_undecided_entries_count_as_the_start(coupled: Problem) -> None:
    rng = np.random.default_rng(3)
    near = coupled.space.sample(rng, 1)[0]
    choices = changed(coupled.space, near, rng, 16, 2)
    choices[:, 4:], near[5:] = UNDECIDED, UNDECIDED
    assert_same(coupled.evaluate(choices, near), coupled.evaluate(choices))


def test_only_layers_that_are_reached_are_listed(coupled_space: Space) -> None:
    """Weight bits reach their layer alone, activation bits the readers and writers, filters the members of a group."""
    start = coupled_space.start
    plans = np.repeat(start[None], 3, axis=0)
    plans[0, 1, 2] = 0
    plans[1, [3, 4], 3] = 0
    filters = next(at for at, method in enumerate(coupled_space.methods) if method.granularity.kind == "filter")
    plans[2, 1, :2] = filters, 15
    cells = cells_near(coupled_space, plans, start)
    listed = [cells.layers[coupled_space.n_layers :][cells.plans == plan].tolist() for plan in range(3)]
    assert listed == [[1], [2, 3, 4], [1, 2]]
