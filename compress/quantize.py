"""Rounding of weights and activations to a stored width.

Weights: one scale per output or per tensor, levels -2^(b-1) ... 2^(b-1) - 1 times the scale. That of narrow weights
may be negative: the extra level then lies among the positive weights. Asymmetric levels are shifted by a whole-
numbered zero point. Activations: one scale and zero point per tensor (one per channel would need a product inside the
sum over channels, which no integer accelerator has); unsigned from zero for non-negative tensors, else with a whole-
numbered zero point, levels 0 ... 2^b - 1. Zero is always exact. Ranges by min-max, percentile or least squared error;
defaults are the best measured ones (docs/compression.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plan.errors import InvalidValueError

WEIGHT_SHRINKS = tuple(np.linspace(1.0, 0.4, 25))
RANGE_SHRINKS = tuple(np.linspace(1.0, 0.1, 46))
SMALLEST_SCALE = 1e-12
VALUES_AT_ONCE = 1 << 17
"""Weights whose scales are sought together: what that takes stays in a core's cache, two to three times as fast."""
SIGNED_BITS = 3
"""Widest weights whose scales may be negative. One level more on the better side is one in eight at 3 bits. At 4 bits
outputs of ResNet-20 come a twentieth nearer to the dense ones and accuracy gains nothing measurable, while level -8 has
no counterpart in the four bits of a file: its scale would have to stay negative there."""
MIN_MAX, PERCENTILE, MINIMUM_ERROR = RANGES = ("min-max", "percentile", "minimum-error")


def weight_levels(bits: int) -> tuple[int, int]:
    """Returns the lowest and highest level of a signed weight of that width."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _check_ranges(ranges: str, percentile: float) -> None:
    if ranges not in RANGES:
        raise InvalidValueError(f"ranges {ranges!r} are unknown (allowed: {', '.join(RANGES)})")
    if not 50 < percentile <= 100:
        raise InvalidValueError(f"percentile {percentile} is out of range (allowed: above 50 to 100)")


@dataclass(frozen=True)
class WeightQuantiser:
    """How the levels of weights are placed.

    per_channel: one scale per output, else one per tensor
    symmetric: levels around zero, else from the smallest to the largest weight
    ranges: one of `RANGES`; percentile: of |w| (or of both tails of w) that a percentile range covers, in (50, 100]
    """

    per_channel: bool = True
    symmetric: bool = True
    ranges: str = MINIMUM_ERROR
    percentile: float = 99.0

    def __post_init__(self) -> None:
        _check_ranges(self.ranges, self.percentile)


DEFAULT_WEIGHTS = WeightQuantiser()


@dataclass(frozen=True)
class WeightGrid:
    """Levels of a weight matrix: whole multiples of `scale` (K,) from `low` to `high`, float32 (K,) each.

    zero_point: (K,), a stored level is the multiple plus it; all 0 where levels are symmetric.
    """

    scale: Tensor
    low: Tensor
    high: Tensor
    zero_point: Tensor


def weight_grid(
    weight: Tensor, bits: int, importance: Tensor, quantiser: WeightQuantiser, *, signed: bool = False
) -> WeightGrid:
    """Returns the levels of every row of a weight matrix.

    Args:
        weight: (K, D) float32
        bits: stored width, 2 to 16
        importance: broadcastable to `weight`, non-negative: the diagonal of the layer's input moments
        quantiser: least error is sought among 25 clipping points of the largest magnitude, weighted by importance
        signed: whether it is sought with negative scales too, up to `SIGNED_BITS`; only symmetric levels of least error
    """
    importance = importance.expand_as(weight)
    rows = weight if quantiser.per_channel else weight.reshape(1, -1)
    importance = importance if quantiser.per_channel else importance.reshape(1, -1)
    if quantiser.symmetric and quantiser.ranges == MINIMUM_ERROR:
        scale = weight_scales(rows, bits, importance, signed=signed)
        zero = torch.zeros_like(scale)
    else:
        scale, zero = _searched(rows, bits, importance, quantiser)
    low, high = weight_levels(bits)
    scale, zero = scale.expand(len(weight)).clone(), zero.expand(len(weight)).clone()
    return WeightGrid(scale, low - zero, high - zero, zero)


def _searched(rows: Tensor, bits: int, importance: Tensor, quantiser: WeightQuantiser) -> tuple[Tensor, Tensor]:
    """Returns scale and zero point (K,) of the best clipping point that the quantiser allows."""
    bottom, top = _weight_limits(rows, quantiser)
    low, high = weight_levels(bits)
    least = torch.full((len(rows),), torch.inf)
    chosen, offset = torch.ones(len(rows)), torch.zeros(len(rows))
    for shrink in WEIGHT_SHRINKS if quantiser.ranges == MINIMUM_ERROR else WEIGHT_SHRINKS[:1]:
        if quantiser.symmetric:
            scale = top * (float(shrink) / high)
            zero = torch.zeros_like(scale)
        else:
            scale = (top - bottom) * (float(shrink) / (high - low))
            zero = (low - bottom * float(shrink) / scale).round()
        levels = (rows / scale[:, None]).round().clamp((low - zero)[:, None], (high - zero)[:, None])
        error = (levels * scale[:, None] - rows).square().mul(importance).sum(1)
        better = error < least
        least = torch.where(better, error, least)
        chosen, offset = torch.where(better, scale, chosen), torch.where(better, zero, offset)
    return chosen, offset


def _weight_limits(rows: Tensor, quantiser: WeightQuantiser) -> tuple[Tensor, Tensor]:
    """Returns the ends (K,) of what a range covers before clipping, bottom <= 0 < top."""
    share = quantiser.percentile / 100 if quantiser.ranges == PERCENTILE else 1.0
    if quantiser.symmetric:
        top = rows.abs().quantile(share, dim=1).clamp_min(SMALLEST_SCALE)
        return -top, top
    bottom, top = rows.quantile(1 - share, dim=1).clamp_max(0), rows.quantile(share, dim=1).clamp_min(SMALLEST_SCALE)
    return bottom, top


def weight_scales(weight: Tensor, bits: int, importance: Tensor, *, signed: bool = False) -> Tensor:
    """Returns the scale of every row that minimises the importance-weighted squared rounding error.

    Args:
        weight: (..., D) float32
        bits: stored width, 2 to 16
        importance: broadcastable to `weight`, non-negative; the diagonal of the layer's input moments
        signed: whether scales up to `SIGNED_BITS` may be negative

    Returns:
        (...) float32; a grid search over 25 clipping points of the row's largest magnitude, on either side if signed.
    """
    columns = weight.shape[-1]
    rows, own = weight.reshape(-1, columns), importance.expand_as(weight).reshape(-1, columns)
    few = max(1, VALUES_AT_ONCE // columns)
    parts = zip(torch.split(rows, few), torch.split(own, few), strict=True)
    return torch.cat([_scales_of(part, bits, weights, signed) for part, weights in parts]).reshape(weight.shape[:-1])


def _scales_of(weight: Tensor, bits: int, importance: Tensor, signed: bool) -> Tensor:
    """Returns the scale of every row, (K,), of weights (K, D) with as much importance."""
    low, high = weight_levels(bits)
    largest = weight.abs().amax(-1).clamp_min(SMALLEST_SCALE * high)
    chosen = largest / high
    least = torch.full_like(largest, torch.inf)
    signs = (1.0, -1.0) if signed and bits <= SIGNED_BITS else (1.0,)
    for factor in (sign * float(shrink) for sign in signs for shrink in WEIGHT_SHRINKS):
        scale = largest * (factor / high)
        rounded = (weight / scale[..., None]).round_().clamp_(low, high).mul_(scale[..., None])
        error = rounded.sub_(weight).square_().mul_(importance).sum(-1)
        better = error < least
        chosen, least = torch.where(better, scale, chosen), torch.where(better, error, least)
    return chosen


@dataclass(frozen=True)
class ActivationRange:
    """How one tensor is rounded: level = clamp(round(x / scale) + zero_point, 0, 2^bits - 1)."""

    bits: int
    scale: float
    zero_point: int

    @property
    def top(self) -> int:
        """Highest level."""
        return int(2**self.bits - 1)

    @property
    def inverse(self) -> float:
        """1 / scale in float32."""
        return float(np.float32(1.0) / np.float32(self.scale))


@dataclass(frozen=True)
class Histogram:
    """Non-zero values of a tensor (zero is always exact): bin centres and the weight in each bin, float64 (bins,)."""

    centres: NDArray[np.float64]
    weights: NDArray[np.float64]


def histogram(
    values: NDArray[np.float32], weights: NDArray[np.float32], *, limits: tuple[float, float], bins: int = 2048
) -> Histogram:
    """Returns the histogram of a sample, its weights (all zeros included) summing to one.

    Args:
        values: (N,)
        weights: (N,) non-negative
        limits: smallest and largest value of the tensor
        bins: their number
    """
    low, high = limits
    if high <= low:
        return Histogram(np.zeros(1), np.zeros(1))
    counts, edges = np.histogram(values, bins=bins, range=limits, weights=weights * (values != 0))
    total = max(float(weights.sum(dtype=np.float64)), 1e-30)
    return Histogram((edges[:-1] + edges[1:]) / 2, counts.astype(np.float64) / total)


def expected_error(found: Histogram, chosen: ActivationRange) -> float:
    """Returns the weighted mean squared error of rounding the values of a histogram."""
    return float(found.weights @ (found.centres - rounded(found.centres, chosen)) ** 2)


@dataclass(frozen=True)
class ActivationQuantiser:
    """How the levels of a stored tensor are placed.

    symmetric: levels of a tensor with negative values lie around zero, else from its smallest to its largest value
    ranges: one of `RANGES`; percentile: of the non-zero values that a percentile range leaves under its ends
    """

    symmetric: bool = False
    ranges: str = MINIMUM_ERROR
    percentile: float = 99.9

    def __post_init__(self) -> None:
        _check_ranges(self.ranges, self.percentile)


DEFAULT_ACTIVATIONS = ActivationQuantiser()


def activation_range(
    found: Histogram, bits: int, quantiser: ActivationQuantiser = DEFAULT_ACTIVATIONS
) -> ActivationRange:
    """Returns the range of a histogram of values; least error is sought among clipping points of both ends."""
    low, high = _activation_limits(found, quantiser)
    if high - low <= 0:
        return ActivationRange(bits, 1.0, 0)
    best, least = ActivationRange(bits, 1.0, 0), np.inf
    for candidate in _candidate_ranges(low, high, bits, quantiser):
        error = expected_error(found, candidate)
        if error < least:
            best, least = candidate, error
    return best


def _activation_limits(found: Histogram, quantiser: ActivationQuantiser) -> tuple[float, float]:
    low, high = min(0.0, float(found.centres.min())), max(0.0, float(found.centres.max()))
    total = float(found.weights.sum())
    if quantiser.ranges == PERCENTILE and total > 0:
        covered = np.cumsum(found.weights) / total
        share = quantiser.percentile / 100
        first, last = (min(int(np.searchsorted(covered, end)), len(covered) - 1) for end in (1 - share, share))
        low = min(0.0, float(found.centres[first])) if low < 0 else 0.0
        high = max(0.0, float(found.centres[last]))
    if quantiser.symmetric and low < 0:
        high = max(high, -low)
        low = -high
    return low, high


def _candidate_ranges(low: float, high: float, bits: int, quantiser: ActivationQuantiser) -> list[ActivationRange]:
    """Returns ranges between shrunken ends; symmetric ones have their zero point in the middle of the levels."""
    top, ranges = 2**bits - 1, []
    shrinks = RANGE_SHRINKS if quantiser.ranges == MINIMUM_ERROR else (1.0,)
    if quantiser.symmetric and low < 0:
        middle = 2 ** (bits - 1)
        return [ActivationRange(bits, float(np.float32(high * shrink / (middle - 1))), middle) for shrink in shrinks]
    for shrink_high in shrinks if high > 0 else (1.0,):
        for shrink_low in shrinks[::3] if low < 0 else (1.0,):
            scale = float(np.float32((high * shrink_high - low * shrink_low) / top))
            ranges.append(ActivationRange(bits, scale, round(-low * shrink_low / scale)))
    return ranges


def rounded(values: NDArray[np.float64], chosen: ActivationRange) -> NDArray[np.float64]:
    """Returns the values after rounding to the range's levels."""
    level = np.clip(np.round(values / chosen.scale) + chosen.zero_point, 0, chosen.top)
    result: NDArray[np.float64] = (level - chosen.zero_point) * chosen.scale
    return result


def fake_quantised(values: Tensor, chosen: ActivationRange, *, in_place: bool = False) -> Tensor:
    """Returns the tensor rounded to the range's levels, float32; four times as fast as torch's own on CPUs.

    Args:
        values: float32, any shape; overwritten when `in_place` is set.
        chosen: levels.
        in_place: whether the result takes the memory of the values.
    """
    return steps_of(values, chosen, in_place=in_place).mul_(chosen.scale)


def steps_of(values: Tensor, chosen: ActivationRange, *, in_place: bool = False) -> Tensor:
    """Returns how many steps from zero the tensor is once it is rounded, whole numbers as float32.

    Arguments are those of `fake_quantised`.
    """
    lowest = -chosen.zero_point
    scaled = values.mul_(chosen.inverse) if in_place else values * chosen.inverse
    return scaled.round_().clamp_(lowest, chosen.top + lowest)
