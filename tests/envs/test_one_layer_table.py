"""Losses of one changed layer, interpolated: what was measured comes back, the rest lies where the laws say."""

from dataclasses import dataclass, field

import numpy as np

from envs.accuracy.one_layer_table import one_layer_table
from plan.scheme import Scheme
from plan.space import DENSITIES, Space


@dataclass
class Losses:
    """A loss of 4^-bits for rounding, and of 0.3 * removed^3 for pruning, which alone counts when it happens."""

    asked: list[tuple[int, str]] = field(default_factory=list)

    def weights(self, layer: int, scheme: Scheme) -> float:
        self.asked.append((layer, scheme.method.granularity.kind))
        removed = 1.0 - scheme.density
        return 0.3 * removed**3 if removed else 4.0**-scheme.weight_bits

    def activations(self, layer: int, bits: int) -> float:
        self.asked.append((layer, "activation"))
        return 2.0 * 4.0**-bits


def test_the_laws_are_found_again(coupled_space: Space) -> None:
    losses, done = Losses(), list[tuple[int, int]]()
    table = one_layer_table(coupled_space, losses, lambda one, total: done.append((one, total)))
    table.check(coupled_space)
    assert done[-1] == (coupled_space.n_layers, coupled_space.n_layers)
    bits = 4.0 ** -np.asarray(coupled_space.weight_bits, dtype=np.float64)
    legal = coupled_space.weight_bits_legal
    for layer in range(coupled_space.n_layers):
        np.testing.assert_allclose(table.weight[layer, 0, -1, legal[layer]], bits[legal[layer]], rtol=1e-9)
        for index, method in enumerate(coupled_space.methods):
            offered = np.flatnonzero(coupled_space.legal[layer, index])
            if method.granularity.kind == "element":
                pruning = 0.3 * (1.0 - DENSITIES[offered]) ** 3
                cells = table.weight[layer, index][offered][:, legal[layer]]
                np.testing.assert_allclose(cells, pruning[:, None] + bits[legal[layer]], rtol=1e-6)
    forbidden = ~(coupled_space.legal[..., None] & legal[:, None, None])
    assert np.isinf(table.weight[np.broadcast_to(forbidden, table.weight.shape)]).all()


def test_a_tensor_is_measured_at_its_first_reader_alone(coupled_space: Space) -> None:
    losses = Losses()
    table = one_layer_table(coupled_space, losses, lambda one, total: None)
    first = coupled_space.deciders.reader == np.arange(coupled_space.n_layers)
    assert {layer for layer, kind in losses.asked if kind == "activation"} == set(np.flatnonzero(first).tolist())
    assert (table.activation[~first] == 0).all()
    widths = 2.0 * 4.0 ** -np.asarray(coupled_space.activation_bits, dtype=np.float64)
    np.testing.assert_allclose(table.activation[first][0], widths, rtol=1e-9)


def test_few_cells_are_measured(coupled_space: Space) -> None:
    losses = Losses()
    one_layer_table(coupled_space, losses, lambda one, total: None)
    asked = [layer for layer, _ in losses.asked]
    assert max(asked.count(layer) for layer in set(asked)) <= 9
    assert asked == sorted(asked)
    assert len(set(asked)) == coupled_space.n_layers
