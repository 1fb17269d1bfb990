"""Builds the error table: closed forms for every cell, a few really repaired cells per layer for their scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from envs.accuracy.curves import LayerCurves, curves_of, with_groups
from envs.accuracy.error_table import ErrorTable
from envs.accuracy.loss_scales import LossIncrease, scaled_by_losses
from envs.accuracy.repaired_cells import LayerError, Scales, affordable, cells_of, measured_scales
from envs.accuracy.saliency import LayerStatistics
from plan.assignment import FloatArray
from plan.errors import MismatchError
from plan.scheme import STRUCTURED
from plan.space import DENSITIES, Space

REPAIR_FLOPS = 2e12
"""Work that really repaired cells may take together: about a minute on two cores."""
PRUNED_ROUNDING = 1.1
"""Rounding of a pruned layer against the dense one: fewer weights, but larger and with fewer others to make up for
them. Median of some 180 really repaired cells of ResNet-20 at 2 and 3 bits."""
Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total)."""


def _silent(phase: str, done: int, total: int) -> None:
    """Ignores progress."""


def build_error_table(
    space: Space,
    statistics: Sequence[LayerStatistics],
    layer_error: LayerError | None,
    *,
    loss_increase: LossIncrease | None = None,
    repair_flops: float = REPAIR_FLOPS,
    progress: Progress = _silent,
) -> ErrorTable:
    """Returns the predicted error of every cell of a space.

    Args:
        space: layers, methods and widths.
        statistics: of every layer, in order.
        layer_error: repairs a cell really; None leaves the closed forms as they are.
        loss_increase: measures the loss with one layer changed; None leaves the second-order errors as they are.
        repair_flops: work that repairs may take, cheapest cells first; the rest take the median scale.
        progress: told about every layer and every repaired cell.

    Raises:
        MismatchError: statistics of another network or space.
        InvalidValueError: statistics that are not finite.
    """
    _check_count(space, statistics)
    found, activation = [], np.zeros((space.n_layers, len(space.activation_bits)))
    for index, own in enumerate(statistics):
        _check_widths(space, own)
        found.append(curves_of(space, index, own))
        activation[index] = own.activation_error
        progress("estimates", index + 1, space.n_layers)
    curves = with_groups(space, found)
    scales = Scales({})
    if layer_error is not None:
        every = [cell for layer in range(space.n_layers) for cell in cells_of(space, layer)]
        cells = affordable(every, repair_flops)
        scales = measured_scales(curves, cells, layer_error, lambda done: progress("repairs", done, len(cells)))
    weight = np.stack([_cells(space, layer, curves[layer], scales) for layer in range(space.n_layers)])
    table = ErrorTable(weight, _falling_with_bits(activation))
    if loss_increase is None:
        return table
    return scaled_by_losses(space, table, loss_increase, lambda done, total: progress("losses", done, total))


def _check_count(space: Space, statistics: Sequence[LayerStatistics]) -> None:
    if len(statistics) != space.n_layers:
        raise MismatchError(
            f"statistics of {len(statistics)} layers for a network of {space.n_layers}; profile it again"
        )


def _check_widths(space: Space, own: LayerStatistics) -> None:
    if own.activation_error.shape != (len(space.activation_bits),):
        raise MismatchError(
            f"activation errors of shape {own.activation_error.shape}, ({len(space.activation_bits)},) is needed: "
            f"one per width of {space.activation_bits}"
        )


def _cells(space: Space, layer: int, curves: LayerCurves, scales: Scales) -> FloatArray:
    """Returns one layer's errors, (M, 32, W), infinite where illegal; never less for less density or fewer bits."""
    rounding = curves.rounding * scales.rounding(layer, space.weight_bits_legal[layer])
    rounding = np.minimum(_falling_with_bits(rounding), curves.total)
    errors = np.full((len(space.methods), len(DENSITIES), len(rounding)), np.inf)
    for index, method in enumerate(space.methods):
        legal = space.legal[layer, index]
        if not legal.any():
            continue
        prune = np.minimum(curves.prune[index] * scales.pruning(layer, method, curves, index), curves.limit[index])
        if method.granularity.kind in STRUCTURED:
            cells = prune[:, None] + DENSITIES[:, None] * rounding
        else:
            cells = np.minimum(prune[:, None] + (1.0 if index == 0 else PRUNED_ROUNDING) * rounding, curves.total)
        errors[index, legal] = np.maximum.accumulate(cells[legal][::-1], axis=0)[::-1]
    return np.where(space.weight_bits_legal[layer], errors, np.inf)


def _falling_with_bits(errors: FloatArray) -> FloatArray:
    """Returns errors (..., bits) raised where a wider width had more."""
    return np.maximum.accumulate(errors[..., ::-1], axis=-1)[..., ::-1]
