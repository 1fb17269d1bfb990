"""Corrects the error table by losses that were really measured with one layer changed.

The second-order error takes output errors at different positions and channels as independent. Where they are not (in
front of a pooling layer, or when whole channels go and the normalisation behind them is estimated anew) it is several
times too low, on the last block of ResNet-20 a hundred times. Two to four measured losses per layer put that right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.accuracy.error_table import ErrorTable
from envs.accuracy.repaired_cells import first_method, scheme_at
from plan.assignment import FloatArray
from plan.scheme import STRUCTURED, Scheme
from plan.space import DENSITIES, Space

KEPT = (0.9, 0.25)
"""Kept fractions of the cells that are measured: about what plans remove, and about the most that they do. With either
one alone the ranking of whole plans is worse (docs/proxy.md)."""
LARGEST_LOG_FACTOR = 6.0
FURTHEST = 1.3
"""A group's factor grows with what is removed, up to this many times the measured step."""
ROUNDED_TO = 4
"""Activation width at which every tensor's loss is measured, or the one nearest to it."""


class LossIncrease(Protocol):
    """Measured increases of the loss in nats with one thing changed and all else dense.

    It is the mean divergence of the outputs from the dense network's, on images that no repair saw, with normalisation
    statistics estimated anew.
    """

    def weights(self, layer: int, scheme: Scheme) -> float:
        """Returns what one layer's weights under a scheme cost, with what its group loses."""

    def activations(self, layer: int, bits: int) -> float:
        """Returns what rounding one layer's input tensor to so many bits costs."""


@dataclass(frozen=True)
class LossCell:
    """A cell whose loss is measured: layer, method and density index, width index, and the scheme."""

    layer: int
    method: int
    density: int
    width: int
    scheme: Scheme


def loss_cells(space: Space, kept: float) -> tuple[list[LossCell], list[LossCell]]:
    """Returns the cells to measure at a kept fraction: one of every layer's own weights, one of every channel group."""
    own = [_own_cell(space, layer, kept) for layer in range(space.n_layers)]
    deciders = [(layer, first_method(space, layer, "filter")) for layer in range(space.n_layers)]
    return own, [_cell(space, layer, method, kept) for layer, method in deciders if method is not None]


def _own_cell(space: Space, layer: int, kept: float) -> LossCell:
    """Returns the pruned cell of a layer, or where none is legal the dense one at its narrowest width."""
    found = (first_method(space, layer, kind) for kind in ("element", "block-punched", "kernel", "block-row"))
    method = next((index for index in found if index is not None), None)
    if method is not None:
        return _cell(space, layer, method, kept)
    width, dense = int(np.flatnonzero(space.weight_bits_legal[layer])[0]), len(DENSITIES) - 1
    return LossCell(layer, 0, dense, width, scheme_at(space, 0, dense, width))


def _cell(space: Space, layer: int, method: int, kept: float) -> LossCell:
    legal = np.flatnonzero(space.legal[layer, method])
    density = int(legal[np.argmin(np.abs(DENSITIES[legal] - kept))])
    width = int(np.flatnonzero(space.weight_bits_legal[layer])[-1])
    return LossCell(layer, method, density, width, scheme_at(space, method, density, width))


def scaled_by_losses(
    space: Space, table: ErrorTable, loss_increase: LossIncrease, tick: Callable[[int, int], None]
) -> ErrorTable:
    """Returns the table with every layer's and every tensor's cells multiplied by measured over predicted loss.

    A layer's factor is the geometric mean over the kept fractions, moved towards that of all layers by what of the
    differences between layers is chance (`reliable_share`). Cells of filter and channel take their group's, which goes
    from the layer's own at full density towards the measured ones, linear in logarithms; errors still never fall with
    less density.

    Args:
        space: of the table.
        table: predicted errors.
        loss_increase: measures one cell.
        tick: told how many cells of how many are done.
    """
    found = [loss_cells(space, kept) for kept in KEPT]
    cells = sorted({cell: None for parts in found for part in parts for cell in part}, key=lambda cell: cell.layer)
    tensors = tensor_cells(space)
    total, logs = len(cells) + len(tensors), dict[LossCell, float]()
    for done, cell in enumerate(cells, start=1):
        predicted = float(table.weight[cell.layer, cell.method, cell.density, cell.width])
        logs[cell] = _log_factor(predicted, loss_increase.weights(cell.layer, cell.scheme))
        tick(done, total)
    weight = _scaled_weights(space, table.weight, found, logs)
    activation = table.activation.copy()
    for done, (layer, width) in enumerate(tensors, start=len(cells) + 1):
        measured = loss_increase.activations(layer, space.activation_bits[width])
        log = _log_factor(float(activation[layer, width]), measured)
        activation[layer] *= np.exp(log) if np.isfinite(log) else 1.0
        tick(done, total)
    return ErrorTable(weight, activation)


def _scaled_weights(
    space: Space,
    weight: FloatArray,
    found: Sequence[tuple[list[LossCell], list[LossCell]]],
    logs: Mapping[LossCell, float],
) -> FloatArray:
    """Returns errors (L, M, 32, W) multiplied by the factors of layers and groups, given as logarithms per cell."""
    factors = _without_gaps(np.array([[logs[cell] for cell in own] for own, _ in found]))
    share, middle = reliable_share(factors), float(factors.mean())
    by_layer = middle + share * (factors.mean(axis=0) - middle)
    by_group: dict[int, list[tuple[float, float]]] = {}
    for cell in (cell for _, groups in found for cell in groups if np.isfinite(logs[cell])):
        group, removed = int(space.deciders.producer_group[cell.layer]), 1.0 - float(DENSITIES[cell.density])
        by_group.setdefault(group, []).append((removed, middle + share * (logs[cell] - middle)))
    scaled: FloatArray = weight * np.exp(by_layer)[:, None, None, None]
    for layer in range(space.n_layers):
        _scale_groups(space, layer, scaled[layer], by_layer[layer], by_group)
    return scaled


def reliable_share(factors: FloatArray) -> float:
    """Returns which share of the variance between layers their mean factors do not owe to chance, 0 to 1.

    What one layer's two factors differ by is taken for chance: a few dozen images of a large network, or cells of
    another kind. (The reliability of a mean of two, Spearman and Brown 1910.)

    Args:
        factors: logarithms, (2, L).
    """
    differences = factors[0] - factors[1]
    spread = float(factors.mean(axis=0).var())
    return float(np.clip(1.0 - differences.var() / 4.0 / spread, 0.0, 1.0)) if spread > 0 else 0.0


def tensor_cells(space: Space) -> list[tuple[int, int]]:
    """Returns the first reader of every stored tensor, and the index of the width at which it is measured."""
    found = []
    for layer in np.flatnonzero(space.deciders.reader == np.arange(space.n_layers)).tolist():
        legal = np.flatnonzero(space.activation_bits_legal[layer])
        distance = np.abs(np.asarray(space.activation_bits)[legal] - ROUNDED_TO)
        found.append((layer, int(legal[int(np.argmin(distance))])))
    return found


def _log_factor(predicted: float, measured: float) -> float:
    if not (measured > 0 and predicted > 0):
        return float("nan")
    return float(np.clip(np.log(measured / predicted), -LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR))


def _without_gaps(logs: FloatArray) -> FloatArray:
    """Returns factors (kept fractions, L), those that could not be measured replaced by the median of their row."""
    filled = [np.where(np.isfinite(row), row, _median(row[np.isfinite(row)])) for row in logs]
    return np.array(filled)


def _median(known: FloatArray) -> float:
    return float(np.median(known)) if len(known) else 0.0


def _scale_groups(
    space: Space, layer: int, weight: FloatArray, own: float, by_group: Mapping[int, Sequence[tuple[float, float]]]
) -> None:
    """Moves a layer's filter and channel cells, (M, 32, W), from the layer's factor to their group's, in place.

    `by_group` gives removed fractions and the logarithms of the factors measured there.
    """
    for index, method in enumerate(space.methods):
        legal = space.legal[layer, index]
        if method.granularity.kind not in STRUCTURED or not legal.any():
            continue
        filters = method.granularity.kind == "filter"
        group = (space.deciders.producer_group if filters else space.deciders.consumer_group)[layer]
        if int(group) in by_group:
            factor = np.exp(_over_removed(1.0 - DENSITIES, own, by_group[int(group)]) - own)
            cells = (weight[index] * factor[:, None])[legal]
            weight[index, legal] = np.maximum.accumulate(cells[::-1], axis=0)[::-1]


def _over_removed(removed: FloatArray, own: float, measured: Sequence[tuple[float, float]]) -> FloatArray:
    """Returns logarithms of a group's factor at removed fractions (n,), `own` where nothing is removed.

    Every measured one gives a straight line through its own fraction, and a little further; their mean is taken.
    """
    lines = [own + (log - own) * np.minimum(removed / at, FURTHEST) for at, log in measured]
    return np.asarray(np.mean(lines, axis=0))
