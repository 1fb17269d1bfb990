"""Corrects the error table by losses that were really measured with one layer changed.

The second-order error takes output errors at different positions and channels as independent. Where they are not (in
front of a pooling layer, or when whole channels go and the normalisation behind them is estimated anew) it is several
times too low, on the last block of ResNet-20 a hundred times. One or two measured losses per layer put that right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.accuracy.error_table import ErrorTable
from envs.accuracy.repaired_cells import first_method, scheme_at
from plan.assignment import FloatArray
from plan.scheme import STRUCTURED, Scheme
from plan.space import DENSITIES, Space

KEPT = 0.25
"""Kept fraction of the cells that are measured: enough is removed to be seen on a few hundred images."""
LARGEST_LOG_FACTOR = 6.0
FURTHEST = 1.3
"""A group's factor grows with what is removed, up to this many times the measured step."""
ROUNDED_TO = 4
"""Activation width at which every tensor's loss is measured, or the one nearest to it."""


class LossIncrease(Protocol):
    """Measured increases of the loss in nats with one thing changed and all else dense.

    It is the mean divergence of the outputs from the dense network's, on calibration images, with normalisation
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


def loss_cells(space: Space) -> tuple[list[LossCell], list[LossCell]]:
    """Returns the cells to measure: one of every layer's own weights, and one of every channel group."""
    own = [_own_cell(space, layer) for layer in range(space.n_layers)]
    deciders = [(layer, first_method(space, layer, "filter")) for layer in range(space.n_layers)]
    return own, [_cell(space, layer, method) for layer, method in deciders if method is not None]


def _own_cell(space: Space, layer: int) -> LossCell:
    """Returns the pruned cell of a layer, or where none is legal the dense one at its narrowest width."""
    found = (first_method(space, layer, kind) for kind in ("element", "block-punched", "kernel", "block-row"))
    method = next((index for index in found if index is not None), None)
    if method is not None:
        return _cell(space, layer, method)
    width, dense = int(np.flatnonzero(space.weight_bits_legal[layer])[0]), len(DENSITIES) - 1
    return LossCell(layer, 0, dense, width, scheme_at(space, 0, dense, width))


def _cell(space: Space, layer: int, method: int) -> LossCell:
    legal = np.flatnonzero(space.legal[layer, method])
    density = int(legal[np.argmin(np.abs(DENSITIES[legal] - KEPT))])
    width = int(np.flatnonzero(space.weight_bits_legal[layer])[-1])
    return LossCell(layer, method, density, width, scheme_at(space, method, density, width))


def scaled_by_losses(
    space: Space, table: ErrorTable, loss_increase: LossIncrease, tick: Callable[[int, int], None]
) -> ErrorTable:
    """Returns the table with every layer's and every tensor's cells multiplied by measured over predicted loss.

    Cells of filter and channel take their group's factor, which rises from the layer's own at full density to the
    measured one at the measured density, linear in logarithms; errors still never fall with less density.

    Args:
        space: of the table.
        table: predicted errors.
        loss_increase: measures one cell.
        tick: told how many cells of how many are done.
    """
    own, groups = loss_cells(space)
    tensors = tensor_cells(space)
    total, logs = len(own) + len(groups) + len(tensors), []
    for done, cell in enumerate((*own, *groups), start=1):
        predicted = float(table.weight[cell.layer, cell.method, cell.density, cell.width])
        logs.append(_log_factor(predicted, loss_increase.weights(cell.layer, cell.scheme)))
        tick(done, total)
    by_layer = _without_gaps(np.array(logs[: len(own)]))
    by_group = {
        int(space.deciders.producer_group[cell.layer]): (log, float(DENSITIES[cell.density]))
        for cell, log in zip(groups, logs[len(own) :], strict=True)
        if np.isfinite(log)
    }
    weight = table.weight * np.exp(by_layer)[:, None, None, None]
    for layer in range(space.n_layers):
        _scale_groups(space, layer, weight[layer], by_layer[layer], by_group)
    activation = table.activation.copy()
    for done, (layer, width) in enumerate(tensors, start=total - len(tensors) + 1):
        measured = loss_increase.activations(layer, space.activation_bits[width])
        log = _log_factor(float(activation[layer, width]), measured)
        activation[layer] *= np.exp(log) if np.isfinite(log) else 1.0
        tick(done, total)
    return ErrorTable(weight, activation)


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
    """Returns the factors with the median in place of those that could not be measured."""
    known = logs[np.isfinite(logs)]
    return np.where(np.isfinite(logs), logs, np.median(known) if len(known) else 0.0)


def _scale_groups(
    space: Space, layer: int, weight: FloatArray, own: float, by_group: Mapping[int, tuple[float, float]]
) -> None:
    """Raises a layer's filter and channel cells, (M, 32, W), from the layer's factor to their group's, in place."""
    for index, method in enumerate(space.methods):
        legal = space.legal[layer, index]
        if method.granularity.kind not in STRUCTURED or not legal.any():
            continue
        filters = method.granularity.kind == "filter"
        group = (space.deciders.producer_group if filters else space.deciders.consumer_group)[layer]
        if int(group) in by_group:
            log, density = by_group[int(group)]
            step = np.minimum((1 - DENSITIES) / (1 - density), FURTHEST)
            cells = (weight[index] * np.exp((log - own) * step)[:, None])[legal]
            weight[index, legal] = np.maximum.accumulate(cells[::-1], axis=0)[::-1]
