import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.accuracy.error_table import ErrorTable
from envs.problem import Problem
from envs.table import COLUMNS
from plan.space import ACTIVATION_BITS, METHOD
from tests.envs.listed import every_alternative


def exact(problem: Problem, plans: np.ndarray) -> np.ndarray:
    metrics = problem.evaluate(plans)
    return np.column_stack((metrics.costs(), metrics.error))


@pytest.mark.parametrize("layer", range(7))
def test_one_changed_layer_is_exact(coupled: Problem, layer: int) -> None:
    alternatives = every_alternative(coupled, layer)
    plans = np.repeat(coupled.space.start[None], len(alternatives), axis=0)
    plans[:, layer] = alternatives.choices
    expected = exact(coupled, plans) - coupled.table.start
    np.testing.assert_allclose(alternatives.metrics, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layer", [4])
def test_inherited_bits_are_priced_where_they_act(coupled: Problem, layer: int) -> None:
    reader = int(coupled.space.deciders.reader[layer])
    assert reader != layer
    alternatives = every_alternative(coupled, layer)
    for bits in range(len(coupled.space.activation_bits)):
        plans = np.repeat(coupled.space.start[None], len(alternatives), axis=0)
        plans[:, layer] = alternatives.choices
        plans[:, [reader, layer], ACTIVATION_BITS] = bits
        np.testing.assert_allclose(coupled.table.totals(plans), exact(coupled, plans), rtol=1e-9, atol=1e-9)


def test_alternatives_are_the_legal_ones(coupled: Problem) -> None:
    space = coupled.space
    for layer in range(space.n_layers):
        decides = space.deciders.reader[layer] == layer
        widths = space.weight_bits_legal[layer].sum() * (space.activation_bits_legal[layer].sum() if decides else 1)
        assert len(every_alternative(coupled, layer)) == space.legal[layer].sum() * widths


def test_rankings_that_another_beats_are_left_out(coupled: Problem) -> None:
    """At every granularity, density and width one ranking stays: the first of those with the least error."""
    space, table = coupled.space, coupled.table
    for layer in range(space.n_layers):
        every, few = every_alternative(coupled, layer), table.alternatives(layer)
        least: dict[tuple[int, ...], tuple[float, int]] = {}
        for choice, metrics in zip(every.choices.tolist(), every.metrics.tolist(), strict=True):
            place = int(table.family[choice[METHOD]]), *choice[METHOD + 1 :]
            least[place] = min(least.get(place, (np.inf, -1)), (metrics[3], choice[METHOD]))
        found = {
            (int(table.family[choice[METHOD]]), *choice[METHOD + 1 :]): choice[METHOD]
            for choice in few.choices.tolist()
        }
        assert len(found) == len(few)
        assert found == {place: method for place, (_, method) in least.items()}
        assert table.alternatives(layer) is few


def test_undominated_holds_every_weighted_optimum(coupled: Problem) -> None:
    rng = np.random.default_rng(0)
    for layer in range(coupled.space.n_layers):
        every = every_alternative(coupled, layer).metrics
        for weights in rng.random((10, len(COLUMNS))) / np.abs(every).max(axis=0).clip(1e-12):
            few = coupled.table.undominated(layer, weights[:3]).metrics
            assert len(few) < len(every)
            np.testing.assert_allclose((few @ weights).min(), (every @ weights).min())


@given(seed=st.integers(0, 2**32 - 1))
def test_errors_add_up_exactly(coupled: Problem, seed: int) -> None:
    plans = coupled.space.sample(np.random.default_rng(seed), 4)
    np.testing.assert_allclose(coupled.table.totals(plans)[:, 3], coupled.evaluate(plans).error, rtol=1e-9)


def test_channel_choices_crowd_out_nothing_that_is_legal_without_them(coupled: Problem) -> None:
    # channels of a group that is all but dead cost no error, and beat everything; yet a producer's filter masks them
    space = coupled.space
    weight = coupled.errors.weight.copy()
    weight[:, space.geometry.is_channel] = np.where(np.isfinite(weight[:, space.geometry.is_channel]), 0.0, np.inf)
    errors = ErrorTable(weight, coupled.errors.activation)
    problem = Problem(space.network, coupled.accelerator, space, errors, coupled.calibration)
    for layer in range(space.n_layers):
        methods = problem.table.undominated(layer, np.ones(3)).choices[:, METHOD]
        assert not space.geometry.is_channel[methods].all()
