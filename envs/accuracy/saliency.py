"""What removing weights of one layer, or rounding all of them, costs after repair: closed forms, one factorisation.

Every cost is an expected loss increase in nats, 0.5 * sum_k fisher_k * dW_k H dW_k^T, where the weights that stay
make up for those that change. Sources: optimal brain surgeon in block form (Frantar and Alistarh, arXiv 2208.11580,
equation 7) for removal; GPTQ (Frantar et al., arXiv 2210.17323) for rounding in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from plan.assignment import FloatArray, IntArray
from plan.errors import InvalidValueError, MismatchError
from plan.layer import Layer

Float32Array = NDArray[np.float32]
DAMPING, MOST_DAMPING = 0.01, 1e3
DEAD_SHARE = 1e-7
LARGEST_EXACT_SET = 64
ROUNDING_SAMPLE = 1 << 17
SHRINKS = np.linspace(1.0, 0.3, 15)


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """What is known of one layer; D = (C / groups) * R * S inputs per output, in (channel, r, s) order.

    Attributes:
        weight: float32 (K, D).
        moment: blocks float32 (groups, d, d) that cover D in order: the metric in which errors count, second moments of
            the unfolded inputs as the repair uses them (about their means where a shift of the mean is repaired),
            not damped.
        fisher: (K,), sum over positions of E[(dLoss / dy_k)^2].
        activation_error: float64 (A,), loss increase from the input tensor at each of the space's activation widths,
            0 for later readers of a tensor.
    """

    weight: Float32Array
    moment: tuple[Float32Array, ...]
    fisher: NDArray[np.floating]
    activation_error: FloatArray

    def check(self, layer: Layer) -> None:
        """Checks that the statistics belong to the layer.

        Raises:
            MismatchError: other shapes.
            InvalidValueError: numbers that are not finite.
        """
        columns = layer.C // layer.groups * layer.R * layer.S
        covered = sum(block.shape[-1] for block in self.moment)
        found = self.weight.shape, covered, self.fisher.shape
        if found != ((layer.K, columns), columns, (layer.K,)):
            raise MismatchError(
                f"layer {layer.name}: weight, moment columns and fisher are {found}, "
                f"({layer.K}, {columns}), {columns} and ({layer.K},) are needed; profile the network again"
            )
        finite = all(np.isfinite(part).all() for part in (self.weight, self.fisher, *self.moment))
        if not finite:
            raise InvalidValueError(f"layer {layer.name}: its statistics are not finite; check weights and images")


@dataclass(frozen=True, eq=False)
class _Block:
    """One damped block of moments, factorised with the weakest input first, for one convolution group.

    place: int64 (d,), where each column stands in that order; inverse: lower triangle of the inverse (d, d) in it;
    conditional: (d,), by column, what a unit error costs once all weaker inputs have made up for it.
    """

    place: IntArray
    inverse: Float32Array
    conditional: Float32Array

    def between(self, rows: IntArray, columns: IntArray) -> Float32Array:
        """Returns entries of the inverse for dense column indices of any one shape."""
        one, other = self.place[rows], self.place[columns]
        return np.asarray(self.inverse[np.maximum(one, other), np.minimum(one, other)])


def _factorised(moment: Float32Array) -> _Block:
    """Returns the factors of (d, d) moments, damped by 1 % of their mean diagonal, ten times more on each retry."""
    diagonal = np.maximum(moment.diagonal(), 0.0)
    order = np.argsort(diagonal, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    sorted_moment = np.asfortranarray(moment[np.ix_(order, order)])
    mean, damping = max(float(diagonal.mean()), 1e-20), DAMPING
    while damping <= MOST_DAMPING:
        damped = sorted_moment.copy(order="F")
        damped.flat[:: len(order) + 1] += damping * mean
        lower, failed = lapack.spotrf(damped, lower=1, overwrite_a=1)
        if failed == 0:
            conditional = np.square(lower.diagonal())[place]
            inverse, failed = lapack.spotri(lower, lower=1, overwrite_c=1)
        if failed == 0:
            return _Block(place, inverse, conditional)
        damping *= 10
    raise InvalidValueError(f"moments of {len(order)} inputs cannot be factorised; profile with more images")


class Saliency:
    """The closed-form costs of one layer. Large arrays are computed when first asked for and kept.

    Args:
        layer: shapes.
        statistics: weights and metric.
    """

    def __init__(self, layer: Layer, statistics: LayerStatistics) -> None:
        statistics.check(layer)
        self.layer = layer
        self.positions = layer.R * layer.S
        self.groups = layer.groups
        self.moment = statistics.moment
        self.half_fisher = statistics.fisher.astype(np.float64) / 2
        strength = np.concatenate([block.diagonal(axis1=1, axis2=2) for block in statistics.moment], axis=1)
        self._units: dict[tuple[int, int, bool], FloatArray] = {}
        self.alive = strength > DEAD_SHARE * strength.mean(axis=1, keepdims=True)
        weight = statistics.weight.reshape(self.groups, layer.K // self.groups, -1)
        self.weight = np.where(self.alive[:, None], weight, np.float32(0.0))

    @cached_property
    def _blocks(self) -> list[list[_Block]]:
        """Factors per block of columns and convolution group."""
        return [[_factorised(part) for part in block] for block in self.moment]

    @cached_property
    def total(self) -> float:
        """What removing the whole layer costs."""
        found, start = 0.0, 0
        for block in self.moment:
            part = self.weight[:, :, start : start + block.shape[-1]]
            rows = ((part @ block) * part).sum(axis=2, dtype=np.float64).ravel()
            found += float(rows @ self.half_fisher)
            start += block.shape[-1]
        return max(found, 0.0)

    def set_costs(self, channels: int, per_position: bool) -> FloatArray:
        """Returns what removing sets of columns costs, every output by itself: float64 (K, C / groups / channels, n).

        Args:
            channels: consecutive input channels in a set.
            per_position: whether each kernel position is a set (n = R * S), else all of them together (n = 1).
        """
        size = channels * (1 if per_position else self.positions)
        costs = [
            self._block_costs(index, channels, per_position)
            for index in range(len(self.moment))
            if size > 1 and self._whole(channels)
        ]
        if not costs:
            singles = self._single_costs.reshape(self.layer.K, -1, channels, self.positions).sum(axis=2)
            return singles if per_position else np.asarray(singles.sum(axis=2, keepdims=True))
        joined = np.concatenate(costs, axis=1).astype(np.float64)
        joined *= self.half_fisher[:, None]
        return joined.reshape(self.layer.K, -1, self.positions if per_position else 1)

    def unit_costs(self, filters: int, channels: int, per_position: bool) -> FloatArray:
        """Returns what removing units costs, (units,): blocks of outputs by the sets of `set_costs`."""
        key = filters, channels, per_position
        if key not in self._units:
            self._units[key] = over_filters(self.set_costs(channels, per_position), filters)
        return self._units[key]

    def _whole(self, channels: int) -> bool:
        """Returns whether no set of so many channels is cut by a border between blocks of moments."""
        return all(block.shape[-1] % (channels * self.positions) == 0 for block in self.moment)

    @cached_property
    def _single_costs(self) -> FloatArray:
        """What removing single weights costs, float64 (K, D)."""
        inverse = np.concatenate(
            [np.stack([part.inverse.diagonal()[part.place] for part in block]) for block in self._blocks], axis=1
        )
        costs = np.square(self.weight, dtype=np.float64) / inverse[:, None]
        return np.asarray(costs.reshape(self.layer.K, -1) * self.half_fisher[:, None])

    def _block_costs(self, index: int, channels: int, per_position: bool) -> FloatArray:
        """Returns w_B [(H^-1)_BB]^-1 w_B of all sets within one block of moments, (K, sets)."""
        width = self.moment[index].shape[-1]
        start = sum(block.shape[-1] for block in self.moment[:index])
        columns = np.arange(width).reshape(-1, channels, self.positions)
        sets = columns.swapaxes(1, 2).reshape(-1, channels) if per_position else columns.reshape(len(columns), -1)
        found = []
        for group, factors in enumerate(self._blocks[index]):
            part = self.weight[group][:, start + sets].transpose(1, 0, 2)
            found.append((part @ self._metric(index, group, factors, sets) * part).sum(axis=2).T)
        return np.concatenate(found)

    def _metric(self, index: int, group: int, factors: _Block, sets: IntArray) -> Float32Array:
        """Returns the metric in which each set counts once the rest is refitted, (sets, s, s)."""
        rows, across = np.broadcast_arrays(sets[:, :, None], sets[:, None, :])
        if sets.shape[1] > LARGEST_EXACT_SET:
            return np.asarray(self.moment[index][group][rows, across])
        return np.asarray(np.linalg.inv(factors.between(rows, across)))

    @cached_property
    def input_costs(self) -> FloatArray:
        """What removing each input channel costs, all outputs together, float64 (C,)."""
        by_output = self.set_costs(1, False)[..., 0]
        return np.asarray(by_output.reshape(self.groups, -1, by_output.shape[1]).sum(axis=1).ravel())

    def norms(self, channels: int, per_position: bool, power: int) -> FloatArray:
        """Returns sums of |w|^power over the sets of `set_costs`, of the same shape."""
        values = np.abs(self.weight).astype(np.float64) ** power
        split = values.reshape(self.layer.K, -1, channels, self.positions).sum(axis=2)
        return split if per_position else np.asarray(split.sum(axis=2, keepdims=True))

    @property
    def magnitudes_in_deviations(self) -> FloatArray:
        """Every |w| over the standard deviation of its output's weights, float64 (K * D,)."""
        values = np.abs(self.weight.reshape(self.layer.K, -1)).astype(np.float64)
        spread = self.weight.reshape(self.layer.K, -1).std(axis=1, dtype=np.float64)
        return np.asarray((values / np.maximum(spread, 1e-30)[:, None]).ravel())

    def rounding(self, bits: int) -> float:
        """Returns what rounding all weights in order to signed levels of so many bits costs.

        Each output's squared error comes from rounding a sample of its weights with the best of 15 clipping points;
        the metric of an input is what remains once all weaker inputs have made up for it.
        """
        conditional = np.concatenate(
            [np.stack([part.conditional for part in block]) for block in self._blocks], axis=1
        ).astype(np.float64)
        metric = np.where(self.alive, conditional, 0.0).sum(axis=1)
        rows = _rounding_errors(self.weight.reshape(self.layer.K, -1), bits)
        per_output = np.repeat(metric, self.layer.K // self.groups) * rows
        return min(float(per_output @ self.half_fisher), self.total)


def over_filters(values: FloatArray, filters: int) -> FloatArray:
    """Returns sums of (K, ...) over blocks of outputs, flat; a last block may be smaller."""
    if len(values) % filters:
        return np.asarray(np.add.reduceat(values, np.arange(0, len(values), filters), axis=0).ravel())
    return np.asarray(values.reshape(-1, filters, *values.shape[1:]).sum(axis=1).ravel())


def _rounding_errors(weight: Float32Array, bits: int) -> FloatArray:
    """Returns the mean squared rounding error of every row, (K,), for symmetric levels and the best clipping point."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    step = max(1, weight.size // ROUNDING_SAMPLE)
    largest = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.float32(1e-12))
    sample = weight[:, ::step]
    least = np.full(len(weight), np.inf)
    for shrink in SHRINKS:
        scale = largest * np.float32(shrink / high)
        error = np.square(np.clip(np.rint(sample / scale), low, high) * scale - sample).mean(axis=1)
        least = np.minimum(least, error)
    return least
