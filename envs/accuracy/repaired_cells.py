"""Which cells of the error table are really repaired, and the scales that their errors give the closed forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.accuracy.curves import LayerCurves
from plan.assignment import FloatArray
from plan.layer import Layer
from plan.scheme import Method, Scheme
from plan.space import DENSITIES, Space

LayerError = Callable[[int, Scheme], float]
"""Gives the really repaired error of one layer under a scheme, nats, the rest of the network dense."""
FAMILIES = {
    "element": "element",
    "n:m": "element",
    "pattern": "element",
    "kernel": "kernel",
    "block-punched": "block",
    "block-row": "block",
    "block-column": "block",
    "channel": "group",
    "filter": "group",
}
PRUNED_CELLS = (("element", 0.5), ("kernel", 0.5), ("block", 0.5), ("group", 0.5))
"""Family and kept fraction of the second-order cells that are repaired per layer, at the widest weights."""
ROUNDED_CELLS = (0, 2)
"""Positions among a layer's weight widths at which the dense layer is repaired: the narrowest and two above."""
ROUNDING = "rounding"
ROUND_PASSES, PRUNE_PASSES = 5, 75
"""Products of moments and weights that one repair takes: rounding and descent, and three masked refits beside."""
LARGEST_LOG_SCALE = 4.0


@dataclass(frozen=True)
class Cell:
    """A cell to repair: its slot (shared by all layers), where it stands, its scheme, and the work that it takes."""

    slot: tuple[str, float]
    layer: int
    method: int
    density: int
    width: int
    scheme: Scheme
    flops: float


def cells_of(space: Space, layer: int) -> list[Cell]:
    """Returns the cells to repair on one layer, at most six."""
    widths = np.flatnonzero(space.weight_bits_legal[layer])
    flops = _product_flops(space.network.layers[layer])
    found = [
        _cell(space, (ROUNDING, float(position)), (layer, 0, len(DENSITIES) - 1, int(widths[position])), flops)
        for position in ROUNDED_CELLS
        if position < len(widths)
    ]
    for family, density in PRUNED_CELLS:
        method = first_method(space, layer, family)
        if method is not None:
            legal = np.flatnonzero(space.legal[layer, method])
            nearest = int(legal[np.argmin(np.abs(DENSITIES[legal] - density))])
            work = _reader_flops(space, layer, method) if family == "group" else flops * PRUNE_PASSES / ROUND_PASSES
            found.append(_cell(space, (family, density), (layer, method, nearest, int(widths[-1])), work))
    return found


def _cell(space: Space, slot: tuple[str, float], place: tuple[int, int, int, int], flops: float) -> Cell:
    layer, method, density, width = place
    return Cell(slot, layer, method, density, width, scheme_at(space, method, density, width), flops)


def scheme_at(space: Space, method: int, density: int, width: int) -> Scheme:
    """Returns the scheme of a cell, activations at the widest bits."""
    return Scheme(space.methods[method], float(DENSITIES[density]), space.weight_bits[width], space.activation_bits[-1])


def first_method(space: Space, layer: int, kind: str) -> int | None:
    """Returns the first legal second-order method of a kind or family that offers several densities."""
    for index, method in enumerate(space.methods):
        own = method.granularity.kind
        fits = kind in (own, FAMILIES.get(own)) and method.algorithm == "second-order"
        if fits and space.legal[layer, index].sum() > 1:
            return index
    return None


def _product_flops(layer: Layer) -> float:
    columns = layer.weights / layer.K
    return 2.0 * ROUND_PASSES * columns**2 * layer.K


def _reader_flops(space: Space, layer: int, method: int) -> float:
    """Returns the work of a filter or channel cell: the readers are factorised anew, and rounded."""
    filters = space.methods[method].granularity.kind == "filter"
    groups = space.deciders.producer_group if filters else space.deciders.consumer_group
    members = space.network.groups[int(groups[layer])].consumers
    readers = [space.network.layers[index] for index in members]
    factors = sum(4.0 * (reader.weights / reader.K) ** 3 * reader.groups for reader in readers)
    return factors + sum(_product_flops(reader) for reader in readers)


def affordable(cells: Sequence[Cell], flops: float) -> list[Cell]:
    """Returns the cheapest cells that together take no more than so many operations, in order of layers."""
    chosen, spent = [], 0.0
    for cell in sorted(cells, key=lambda cell: (cell.flops, cell.layer)):
        spent += cell.flops
        if spent <= flops:
            chosen.append(cell)
    return sorted(chosen, key=lambda cell: cell.layer)


@dataclass(frozen=True, eq=False)
class Scales:
    """Natural logarithms of repaired over estimated error, by slot: one number per layer, (L,)."""

    logs: Mapping[tuple[str, float], FloatArray]

    def rounding(self, layer: int, legal: NDArray[np.bool_]) -> FloatArray:
        """Returns the factor of a layer's rounding errors, (W,).

        Its logarithm is linear between the repaired widths, which stand among the layer's legal ones, bool (W,).
        """
        widths = np.flatnonzero(legal)
        known = [
            (widths[int(at)], logs[layer])
            for (what, at), logs in self.logs.items()
            if what == ROUNDING and at < len(widths)
        ]
        if not known:
            return np.ones(len(legal))
        at, values = zip(*sorted(known), strict=True)
        return np.asarray(np.exp(np.interp(np.arange(len(legal)), at, values)))

    def pruning(self, layer: int, method: Method, curves: LayerCurves, index: int) -> FloatArray:
        """Returns the factor of every pruning cost, (32,).

        Removing few weights costs what the closed form says, removing everything what it is known to cost; between
        these ends and the repaired densities the factor's logarithm is linear in density.
        """
        family = FAMILIES.get(method.granularity.kind)
        known = sorted((slot[1], float(logs[layer])) for slot, logs in self.logs.items() if slot[0] == family)
        low = np.log(max(curves.limit[index], 1e-300) / max(curves.whole[index], 1e-300))
        points = [(0.0, float(np.clip(low, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))), *known, (1.0, 0.0)]
        at, values = zip(*points, strict=True)
        return np.asarray(np.exp(np.interp(DENSITIES, at, values)))


def measured_scales(
    curves: Sequence[LayerCurves], cells: Sequence[Cell], layer_error: LayerError, tick: Callable[[int], None]
) -> Scales:
    """Returns scales from really repaired cells; layers without one get the median of the others.

    Args:
        curves: closed forms of all layers.
        cells: what is repaired.
        layer_error: repairs one.
        tick: told how many are done.
    """
    ratios: dict[tuple[str, float], FloatArray] = {}
    for done, cell in enumerate(sorted(cells, key=lambda cell: (cell.layer, cell.slot[0] != ROUNDING))):
        own = curves[cell.layer]
        logs = ratios.setdefault(cell.slot, np.full(len(curves), np.nan))
        error = layer_error(cell.layer, cell.scheme)
        if cell.slot[0] == ROUNDING:
            logs[cell.layer] = _log_ratio(error, own.rounding[cell.width])
        else:
            rounded = min(DENSITIES[cell.density] * own.rounding[cell.width], 0.5 * error)
            logs[cell.layer] = _log_ratio(error - rounded, own.prune[cell.method, cell.density])
        tick(done + 1)
    return Scales({slot: _filled(logs) for slot, logs in ratios.items()})


def _log_ratio(measured: float, estimated: float) -> float:
    if measured <= 0 or estimated <= 0:
        return float("nan")
    return float(np.clip(np.log(measured / estimated), -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))


def _filled(logs: FloatArray) -> FloatArray:
    known = logs[np.isfinite(logs)]
    return np.where(np.isfinite(logs), logs, np.median(known) if len(known) else 0.0)
