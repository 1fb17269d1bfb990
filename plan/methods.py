"""Which pruning methods exist on a hardware, and where each is legal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plan.capabilities import Capabilities
from plan.layer import Layer
from plan.scheme import (
    DENSE,
    BlockColumn,
    BlockPunched,
    BlockRow,
    Channel,
    Dense,
    Element,
    Filter,
    Granularity,
    Kernel,
    Method,
    NofM,
)


def algorithms_of(granularity: Granularity) -> tuple[str, ...]:
    """Returns the rules that rank the units of a granularity; l2 is left out where it orders as l1 does."""
    if isinstance(granularity, Dense):
        return ("none",)
    if isinstance(granularity, Element | NofM):
        return ("l1", "second-order")
    return ("l1", "l2", "second-order")


def methods_of(capabilities: Capabilities) -> tuple[Method, ...]:
    """Returns every (granularity, algorithm) pair of a hardware, dense first."""
    rest = [granularity for granularity in capabilities.granularities if not isinstance(granularity, Dense)]
    return (DENSE, *(Method(granularity, rule) for granularity in rest for rule in algorithms_of(granularity)))


def why_illegal(layer: Layer, granularity: Granularity, *, decides_outputs: bool, decides_inputs: bool) -> str:
    """Returns why a layer may not use a granularity, an empty text when it may.

    Args:
        layer: the layer.
        granularity: what would be pruned.
        decides_outputs: the layer is the first producer of a group whose channels may be removed.
        decides_inputs: the layer is the first consumer of such a group.
    """
    channels = layer.C // layer.groups
    matrix = layer.R * layer.S == 1
    match granularity:
        case NofM(_, m) if channels % m:
            return f"{channels} input channels are not divisible by {m}"
        case Kernel() if matrix:
            return "its kernels are 1x1"
        case BlockPunched(_, _) if layer.op != "conv":
            return "not a convolution"
        case BlockRow(_, _) | BlockColumn(_, _) if not matrix:
            return "not a matrix (linear or 1x1 convolution)"
        case BlockPunched(rows, columns) | BlockRow(rows, columns) | BlockColumn(rows, columns):
            whole = layer.K % rows == 0 and channels % columns == 0
            return "" if whole else f"{layer.K} x {channels} channels do not divide into {rows} x {columns} blocks"
        case Channel() if not decides_inputs:
            return "its input channels are not its to decide"
        case Filter() if not decides_outputs:
            return "its output channels are not its to decide"
    return ""


def legal_densities(layer: Layer, granularity: Granularity, units: int, grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns which kept fractions a method offers on a layer, bool (32,).

    Dense offers 1 alone, n:m its own n/m; the rest every fraction under 1 that keeps at least one unit and removes at
    least one.
    """
    if isinstance(granularity, Dense):
        return np.equal(grid, 1.0)
    if isinstance(granularity, NofM):
        return np.equal(grid, granularity.n_keep / granularity.m)
    kept = np.rint(grid * units)
    return np.logical_and(kept >= 1, kept < units)
