"""Cost of pruning one layer against density, in closed form, for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.accuracy.saliency import LayerStatistics, Saliency, over_filters
from plan.assignment import FloatArray
from plan.geometry import unit_block
from plan.layer import Layer, Network
from plan.patterns import patterns_of
from plan.scheme import KERNEL_POSITIONS, STRUCTURED, Dense, Method, NofM, Pattern
from plan.space import DENSITIES, Space

POWERS = {"level": 1, "splicing": 1, "l1": 1, "fm-reconstruction": 1, "l2": 2}
"""Power of |w| by which an algorithm ranks. Splicing begins with level's ranking, and its curve is level's."""
CHANNEL_POWERS = (1, 2)


@dataclass(frozen=True, eq=False)
class LayerCurves:
    """Closed-form costs of one layer, nats, before real repairs fix their scale.

    Attributes:
        prune: (M, 32), cost of what is removed at each kept fraction; 0 for dense, 0 where the method is illegal.
        whole: (M,), the same sums over all units.
        limit: (M,), what removing everything really costs; pruning costs no more.
        rounding: (W,), cost of rounding all weights.
        input_costs: (C,), cost of each input channel over all outputs.
        input_norms, output_norms: (2, C) and (2, K), sums of |w| and of w^2 per channel.
        total: what removing the whole layer costs.
    """

    prune: FloatArray
    whole: FloatArray
    limit: FloatArray
    rounding: FloatArray
    input_costs: FloatArray
    input_norms: FloatArray
    output_norms: FloatArray
    total: float


def curves_of(space: Space, index: int, statistics: LayerStatistics) -> LayerCurves:
    """Returns the curves of one layer; those of filter and channel stay 0 until `with_groups` fills them."""
    layer = space.network.layers[index]
    saliency = Saliency(layer, statistics)
    prune, whole = np.zeros((len(space.methods), len(DENSITIES))), np.zeros(len(space.methods))
    for position, method in enumerate(space.methods):
        own = not isinstance(method.granularity, Dense) and method.granularity.kind not in STRUCTURED
        if own and space.legal[index, position].any():
            prune[position], whole[position] = _own_curve(saliency, method)
    by_input = [saliency.norms(1, False, power)[..., 0] for power in CHANNEL_POWERS]
    return LayerCurves(
        prune=prune,
        whole=whole,
        limit=np.full(len(space.methods), saliency.total),
        rounding=np.array([saliency.rounding(bits) for bits in space.weight_bits]),
        input_costs=saliency.input_costs,
        input_norms=np.array([_per_input(norms, layer) for norms in by_input]),
        output_norms=np.array([norms.sum(axis=1) for norms in by_input]),
        total=saliency.total,
    )


def _per_input(norms: FloatArray, layer: Layer) -> FloatArray:
    """Returns sums over outputs for every input channel, (C,), of norms (K, C / groups)."""
    return np.asarray(norms.reshape(layer.groups, -1, norms.shape[1]).sum(axis=1).ravel())


def _own_curve(saliency: Saliency, method: Method) -> tuple[FloatArray, float]:
    """Returns costs (32,) and the cost of all units for a method that prunes the layer's own weights."""
    if isinstance(method.granularity, NofM):
        return _n_of_m_curve(saliency, method.granularity, method.algorithm)
    if isinstance(method.granularity, Pattern):
        return _pattern_curve(saliency, method.granularity, method.algorithm)
    filters, channels, per_position = unit_block(method.granularity)
    costs = saliency.unit_costs(filters, channels, per_position)
    if method.algorithm == "second-order":
        return removal_curve(costs, costs)
    if method.algorithm == "sensitivity":
        return removal_curve(costs, saliency.magnitudes_in_deviations)
    norms = saliency.norms(channels, per_position, POWERS[method.algorithm])
    return removal_curve(costs, over_filters(norms, filters))


def removal_curve(costs: FloatArray, rank: FloatArray) -> tuple[FloatArray, float]:
    """Returns summed costs (32,) of the lowest-ranked units removed at each kept fraction, and the sum of all.

    Args:
        costs: (units,) cost of removing each unit.
        rank: (units,) what the method ranks by; the lowest go first.
    """
    ordered = np.sort(costs) if rank is costs else costs[np.argsort(rank)]
    summed = np.concatenate(([0.0], np.cumsum(ordered)))
    kept = np.maximum(np.rint(DENSITIES * len(costs)), 1).astype(np.int64)
    return summed[len(costs) - kept], float(summed[-1])


def _n_of_m_curve(saliency: Saliency, granularity: NofM, algorithm: str) -> tuple[FloatArray, float]:
    """Returns the cost of removing all but n of every m consecutive channels, and of removing all."""
    costs = saliency.set_costs(1, True)
    split = costs.reshape(len(costs), -1, granularity.m, costs.shape[2])
    removed = granularity.m - granularity.n_keep
    if algorithm == "second-order":
        lowest = np.partition(split, removed - 1, axis=2)[:, :, :removed]
    else:
        rank = saliency.norms(1, True, POWERS[algorithm]).reshape(split.shape)
        lowest = np.take_along_axis(split, np.argsort(rank, axis=2)[:, :, :removed], axis=2)
    return np.full(len(DENSITIES), lowest.sum()), float(costs.sum())


def _pattern_curve(saliency: Saliency, granularity: Pattern, algorithm: str) -> tuple[FloatArray, float]:
    """Returns the cost of removing what every kernel's best pattern leaves out, and of removing all."""
    costs = saliency.set_costs(1, True).reshape(-1, KERNEL_POSITIONS)
    worth = costs if algorithm == "second-order" else saliency.norms(1, True, POWERS[algorithm]).reshape(costs.shape)
    kept = np.zeros((KERNEL_POSITIONS, len(patterns_of(granularity.keep))))
    for column, shape in enumerate(patterns_of(granularity.keep)):
        kept[list(shape), column] = 1.0
    best = np.argmax(worth @ kept, axis=1)
    removed = float((costs @ (1.0 - kept))[np.arange(len(costs)), best].sum())
    return np.full(len(DENSITIES), removed), float(costs.sum())


def with_groups(space: Space, curves: Sequence[LayerCurves]) -> tuple[LayerCurves, ...]:
    """Returns the curves with those of filter and channel filled: what all readers of the group lose."""
    costs = [_channel_costs(space.network, group, curves) for group in range(len(space.network.groups))]
    limits = [_reader_total(space.network, group, curves) for group in range(len(space.network.groups))]
    for index, own in enumerate(curves):
        for position, method in enumerate(space.methods):
            if method.granularity.kind in STRUCTURED and space.legal[index, position].any():
                group = _decided(space, index, method)
                own.prune[position], own.whole[position] = _group_curve(
                    space.network.layers[index], method, own, costs[group]
                )
                own.limit[position] = limits[group]
    return tuple(curves)


def _group_curve(layer: Layer, method: Method, own: LayerCurves, costs: FloatArray) -> tuple[FloatArray, float]:
    """Returns costs (32,) and the cost of all channels; a random draw costs what it does in the mean of all draws."""
    if method.algorithm == "bernoulli":
        even = np.full(len(costs), costs.mean())
        return removal_curve(even, even)
    return removal_curve(costs, _ranking(layer, method, own, costs))


def _decided(space: Space, index: int, method: Method) -> int:
    filters = method.granularity.kind == "filter"
    groups = space.deciders.producer_group if filters else space.deciders.consumer_group
    return int(groups[index])


def _readers(network: Network, group: int) -> list[int]:
    """Returns the consumers of a group; what a depthwise layer passes on is counted where it is read."""
    return [index for index in network.groups[group].consumers if not network.layers[index].depthwise]


def features_of(layer: Layer, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which input channels of a layer carry a group, and the group's channel that each carries, int64 (n,)."""
    channels, carried, start = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for segment in layer.inputs:
        width = segment.channels * segment.repeat
        if segment.group == group:
            channels.append(np.arange(start, start + width))
            carried.append(np.repeat(np.arange(segment.channels), segment.repeat))
        start += width
    return np.concatenate(channels), np.concatenate(carried)


def _channel_costs(network: Network, group: int, curves: Sequence[LayerCurves]) -> FloatArray:
    """Returns what removing each channel of a group costs its readers, (channels,)."""
    total = np.zeros(network.groups[group].channels)
    for index in _readers(network, group):
        inputs, carried = features_of(network.layers[index], group)
        total += np.bincount(carried, curves[index].input_costs[inputs], minlength=len(total))
    return total


def _reader_total(network: Network, group: int, curves: Sequence[LayerCurves]) -> float:
    return sum(curves[index].total for index in _readers(network, group))


def _ranking(layer: Layer, method: Method, own: LayerCurves, costs: FloatArray) -> FloatArray:
    """Returns what a structured method ranks the group's channels by, (channels,)."""
    if method.algorithm == "second-order":
        return costs
    row = CHANNEL_POWERS.index(POWERS[method.algorithm])
    if method.granularity.kind == "filter":
        return np.asarray(own.output_norms[row])
    _, carried = features_of(layer, layer.inputs[0].group)
    return np.asarray(np.bincount(carried, own.input_norms[row], minlength=len(costs)), dtype=np.float64)
