from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from envs.accuracy.error_table import ErrorTable
from envs.accuracy.loss_scales import KEPT, loss_cells, reliable_share, scaled_by_losses, tensor_cells
from plan.scheme import STRUCTURED, Scheme
from plan.space import DENSITIES, Space


def predicted(space: Space, table: ErrorTable, layer: int, scheme: Scheme) -> float:
    method, density = space.methods.index(scheme.method), int(np.flatnonzero(scheme.density == DENSITIES)[0])
    return float(table.weight[layer, method, density, space.weight_bits.index(scheme.weight_bits)])


@dataclass(frozen=True)
class Losses:
    """Answers with given multiples of a table's own predictions."""

    space: Space
    table: ErrorTable
    factor: Callable[[int, Scheme], float] = lambda layer, scheme: 1.0
    tensor_factor: Callable[[int], float] = lambda layer: 1.0

    def weights(self, layer: int, scheme: Scheme) -> float:
        return self.factor(layer, scheme) * predicted(self.space, self.table, layer, scheme)

    def activations(self, layer: int, bits: int) -> float:
        return self.tensor_factor(layer) * float(self.table.activation[layer, self.space.activation_bits.index(bits)])


def silent(done: int, total: int) -> None:
    """Ignores progress."""


def test_one_cell_a_layer_and_one_a_group(coupled_space: Space) -> None:
    for kept in KEPT:
        own, groups = loss_cells(coupled_space, kept)
        assert [cell.layer for cell in own] == list(range(7))
        assert [int(coupled_space.deciders.producer_group[cell.layer]) for cell in groups] == [1, 2, 3]
        for cell in (*own, *groups):
            assert coupled_space.legal[cell.layer, cell.method, cell.density]


def test_agreement_changes_nothing(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    same = scaled_by_losses(coupled_space, coupled_errors, Losses(coupled_space, coupled_errors), silent)
    np.testing.assert_allclose(same.weight, coupled_errors.weight, rtol=1e-9)
    np.testing.assert_allclose(same.activation, coupled_errors.activation, rtol=1e-9)


def test_tensors_take_their_measured_factor(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    losses = Losses(coupled_space, coupled_errors, tensor_factor=lambda layer: 2.0 + layer)
    scaled = scaled_by_losses(coupled_space, coupled_errors, losses, silent)
    cells = tensor_cells(coupled_space)
    assert {coupled_space.activation_bits[width] for _, width in cells} == {4}
    for layer, _ in cells:
        np.testing.assert_allclose(scaled.activation[layer], (2.0 + layer) * coupled_errors.activation[layer])


def test_tensors_that_cost_nothing_measurable_keep_their_prediction(
    coupled_space: Space, coupled_errors: ErrorTable
) -> None:
    losses = Losses(coupled_space, coupled_errors, tensor_factor=lambda layer: 0.0)
    scaled = scaled_by_losses(coupled_space, coupled_errors, losses, silent)
    np.testing.assert_array_equal(scaled.activation, coupled_errors.activation)


def test_layers_take_their_measured_factors(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    losses = Losses(
        coupled_space,
        coupled_errors,
        lambda layer, scheme: 20.0 if scheme.method.granularity.kind in STRUCTURED else 1.5 + layer,
    )
    told: list[tuple[int, int]] = []
    scaled = scaled_by_losses(coupled_space, coupled_errors, losses, lambda *counts: told.append(counts))
    for cell in (cell for kept in KEPT for cell in loss_cells(coupled_space, kept)[0]):
        at = cell.layer, cell.method, cell.density, cell.width
        assert scaled.weight[at] == pytest.approx(losses.weights(cell.layer, cell.scheme))
    _, groups = loss_cells(coupled_space, KEPT[1])
    for cell in groups:
        at = cell.layer, cell.method, cell.density, cell.width
        assert 1.5 + cell.layer < scaled.weight[at] / coupled_errors.weight[at]
    cells = {cell for kept in KEPT for part in loss_cells(coupled_space, kept) for cell in part}
    count = len(cells) + len(tensor_cells(coupled_space))
    assert told == [(done, count) for done in range(1, count + 1)]
    np.testing.assert_allclose(scaled.weight[2, 0, -1], 3.5 * coupled_errors.weight[2, 0, -1])


def test_factors_that_disagree_are_not_relied_on(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    losses = Losses(
        coupled_space, coupled_errors, lambda layer, scheme: 4.0 if (layer % 2 == 0) == (scheme.density > 0.5) else 1.0
    )
    scaled = scaled_by_losses(coupled_space, coupled_errors, losses, silent)
    np.testing.assert_allclose(scaled.weight[2, 0, -1], 2.0 * coupled_errors.weight[2, 0, -1])


def test_reliable_share_by_hand() -> None:
    layers = np.array([1.0, -1.0, 3.0])
    assert reliable_share(np.stack((layers, layers))) == 1.0
    assert reliable_share(np.stack((layers, -layers))) == 0.0
    assert reliable_share(np.array([[1.0, 0.0], [1.0, -2.0]])) == pytest.approx(1.0 - (1.0 / 4.0) / 1.0)


def test_errors_still_never_fall_with_less(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    losses = Losses(
        coupled_space,
        coupled_errors,
        lambda layer, scheme: 0.01 if scheme.method.granularity.kind in STRUCTURED else 5.0,
    )
    scaled = scaled_by_losses(coupled_space, coupled_errors, losses, silent)
    for layer in range(coupled_space.n_layers):
        for method in range(len(coupled_space.methods)):
            cells = scaled.weight[layer, method, coupled_space.legal[layer, method]]
            assert (np.diff(cells, axis=0) <= 0).all()
            assert (np.diff(cells, axis=1) <= 0).all()


def test_losses_that_cannot_be_used_take_the_median(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    losses = Losses(coupled_space, coupled_errors, lambda layer, scheme: -1.0 if layer == 4 else 3.0)
    scaled = scaled_by_losses(coupled_space, coupled_errors, losses, silent)
    np.testing.assert_allclose(scaled.weight[4, 0, -1], 3.0 * coupled_errors.weight[4, 0, -1])
