"""Which pruning methods exist on a hardware, and where each is legal.

What the algorithms do, each at exactly the asked number of units; the first seven are the core family (their origin and
behaviour: Intel Neural Network Distiller, `distiller/pruning`, which names the papers):

level: the smallest magnitudes go.
sensitivity: what is under s standard deviations goes, s such that the density is met; the deviation is that of one
    output's weights, because batch norm makes the scale of an output arbitrary. With one deviation per tensor every
    density would keep the very weights that level keeps.
splicing: level in rounds; weights left are refitted after each, a removed weight comes back when its refitted value
    would be large, and weights near the threshold keep what they are (Guo et al., arXiv 1608.04493).
l1, l2: units of the smallest mean norm go.
bernoulli: filters drawn at random go.
fm-reconstruction: the input channels of smallest L1 norm go, and the weights left are refitted to the layer's dense
    outputs without an intercept (He et al., arXiv 1707.06168, with the ranking that Distiller uses).
second-order: the units go whose removal costs least once the rest is refitted (optimal brain surgeon).
"""

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
    Pattern,
    own_density,
)

OFFERED: dict[str, tuple[str, ...]] = {
    Dense.kind: ("none",),
    Element.kind: ("level", "sensitivity", "splicing", "second-order"),
    NofM.kind: ("l1", "second-order"),
    Pattern.kind: ("l2", "second-order"),
    Channel.kind: ("l1", "l2", "fm-reconstruction", "second-order"),
    Filter.kind: ("l1", "l2", "bernoulli", "second-order"),
}
"""Algorithms by kind of granularity; the kinds that are not listed take `NORMS_AND_COST`."""
NORMS_AND_COST = ("l1", "l2", "second-order")
SAME_ORDER = "orders single weights as {} does"
REASONS: dict[tuple[str, str], str] = {
    (Element.kind, "l1"): SAME_ORDER.format("level"),
    (Element.kind, "l2"): SAME_ORDER.format("level"),
    (NofM.kind, "l2"): SAME_ORDER.format("l1"),
    (NofM.kind, "level"): SAME_ORDER.format("l1"),
    (Pattern.kind, "l1"): "patterns are compared by the energy that they keep, l2",
    (Channel.kind, "bernoulli"): "draws filters only",
    (Filter.kind, "fm-reconstruction"): "rebuilds outputs from fewer input channels only",
}
UNSTRUCTURED_ONLY = ("level", "sensitivity", "splicing")


def algorithms_of(granularity: Granularity) -> tuple[str, ...]:
    """Returns the rules that choose the units of a granularity; see the module for what each does."""
    return OFFERED.get(granularity.kind, NORMS_AND_COST)


def why_not_offered(granularity: Granularity, algorithm: str) -> str:
    """Returns why an algorithm is not offered with a granularity, an empty text when it is."""
    if algorithm in algorithms_of(granularity):
        return ""
    if isinstance(granularity, Dense):
        return "dense removes nothing, its algorithm is none"
    if algorithm == "none":
        return "none goes with dense only"
    if (granularity.kind, algorithm) in REASONS:
        return REASONS[granularity.kind, algorithm]
    if algorithm in UNSTRUCTURED_ONLY:
        return "thresholds single weights only"
    return "removes whole filters or input channels only"


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
        case Pattern(_) if (layer.R, layer.S) != (3, 3):
            return "its kernels are not 3x3"
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

    Dense, n:m and pattern offer their own density alone, at the nearest grid point; the rest every fraction under 1
    that keeps at least one unit and removes at least one.
    """
    own = own_density(granularity)
    if own is not None:
        return np.equal(np.arange(len(grid)), int(np.argmin(np.abs(grid - own))))
    kept = np.rint(grid * units)
    return np.logical_and(kept >= 1, kept < units)
