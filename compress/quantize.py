"""Rounding of weights and activations to a stored width, with ranges that minimise the squared error.

Weights: symmetric, one scale per output, levels -2^(b-1) ... 2^(b-1) - 1 times the scale.
Activations: one scale and zero point per tensor; unsigned from zero for non-negative tensors, else asymmetric with a
whole-numbered zero point, levels 0 ... 2^b - 1, so that zero is always exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WEIGHT_SHRINKS = tuple(np.linspace(1.0, 0.4, 25))
RANGE_SHRINKS = tuple(np.linspace(1.0, 0.1, 46))
SMALLEST_SCALE = 1e-12


def weight_levels(bits: int) -> tuple[int, int]:
    """Returns the lowest and highest level of a signed weight of that width."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def weight_scales(weight: Tensor, bits: int, importance: Tensor) -> Tensor:
    """Returns the scale of every row that minimises the importance-weighted squared rounding error.

    Args:
        weight: (..., D) float32
        bits: stored width, 2 to 16
        importance: broadcastable to `weight`, non-negative; the diagonal of the layer's input moments

    Returns:
        (...) float32, positive; a grid search over 25 clipping points of the row's largest magnitude.
    """
    low, high = weight_levels(bits)
    largest = weight.abs().amax(-1).clamp_min(SMALLEST_SCALE * high)
    chosen = largest / high
    least = torch.full_like(largest, torch.inf)
    for shrink in WEIGHT_SHRINKS:
        scale = largest * (float(shrink) / high)
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


def activation_range(found: Histogram, bits: int) -> ActivationRange:
    """Returns the range of least expected error for a histogram of values, by grid search over clipping points."""
    low, high = min(0.0, float(found.centres.min())), max(0.0, float(found.centres.max()))
    if high - low <= 0:
        return ActivationRange(bits, 1.0, 0)
    best, least = ActivationRange(bits, 1.0, 0), np.inf
    for candidate in _candidate_ranges(low, high, bits):
        error = expected_error(found, candidate)
        if error < least:
            best, least = candidate, error
    return best


def _candidate_ranges(low: float, high: float, bits: int) -> list[ActivationRange]:
    top = 2**bits - 1
    ranges = []
    for shrink_high in RANGE_SHRINKS if high > 0 else (1.0,):
        for shrink_low in RANGE_SHRINKS[::3] if low < 0 else (1.0,):
            scale = float(np.float32((high * shrink_high - low * shrink_low) / top))
            ranges.append(ActivationRange(bits, scale, round(-low * shrink_low / scale)))
    return ranges


def rounded(values: NDArray[np.float64], chosen: ActivationRange) -> NDArray[np.float64]:
    """Returns the values after rounding to the range's levels."""
    level = np.clip(np.round(values / chosen.scale) + chosen.zero_point, 0, chosen.top)
    result: NDArray[np.float64] = (level - chosen.zero_point) * chosen.scale
    return result


def fake_quantised(values: Tensor, chosen: ActivationRange) -> Tensor:
    """Returns the tensor rounded to the range's levels, float32; four times as fast as torch's own on CPUs."""
    lowest = -chosen.zero_point
    return (values * chosen.inverse).round_().clamp_(lowest, chosen.top + lowest).mul_(chosen.scale)
