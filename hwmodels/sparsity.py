"""What zeros save: gated operations, run-length coded feature maps, and skipped cycles with their load imbalance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RunLengthCode:
    """Run-length coding of feature maps in DRAM: (run, level) pairs packed into words.

    Source: Chen et al., JSSC 52(1) 2017, section on RLC: 5-bit run, 16-bit level, three pairs in a 64-bit word.
    """

    run_bits: int
    packing_overhead_ratio: float


def coded_bits(code: RunLengthCode, zero_fraction: FloatArray, value_bits: FloatArray) -> FloatArray:
    """Returns stored bits per value for randomly placed zeros, never more than uncoded (a flag bypasses the coder).

    Expected pairs per value (1 - z) / (1 - z ** 2 ** run_bits): a run longer than the counter costs an extra pair.
    Example: z = 0.5, 16 bits, run 5 bits, overhead 64/63 -> 21 * 64/63 * 0.5 = 10.67 bits.
    """
    zeros = np.clip(zero_fraction, 0.0, 1.0 - 1e-12)
    pairs = (1.0 - zeros) / (1.0 - zeros ** (2**code.run_bits))
    return np.asarray(np.minimum(value_bits, (value_bits + code.run_bits) * code.packing_overhead_ratio * pairs))


def active_fraction(zero_fraction: FloatArray, weight_density: FloatArray) -> FloatArray:
    """Returns the fraction of MACs with two nonzero operands, zeros placed independently; shapes broadcast."""
    return (1.0 - zero_fraction) * weight_density


@dataclass(frozen=True)
class Skipping:
    """An array whose elements skip zeros of both operands, each doing up to `macs_per_pe` MACs a cycle.

    `weight_bits_per_cycle` is what the on-chip network delivers to all elements together. DRAM overlaps with the work.

    Source: Chen et al., JETCAS 9(2) 2019 (Eyeriss v2).
    """

    macs_per_pe: int
    weight_bits_per_cycle: float


def skipping_cycles(
    skipping: Skipping,
    *,
    elements: int,
    macs: FloatArray,
    nonzero_inputs: FloatArray,
    random_density: FloatArray,
    static_density: FloatArray,
    filters: FloatArray,
    sums_per_element: int,
) -> FloatArray:
    """Returns cycles of processing, never more than without skipping; arrays broadcast.

    The slowest of P elements does n (rho + sqrt(2 ln P / n) sqrt(rho (1 - rho))) of its n MACs when a fraction rho is
    left at random, and n at most (the square root is held at its largest value above rho = 1/2, so that fewer MACs
    never take longer). An element reads every nonzero input even when all its weights are zero. With a single filter,
    as in depthwise layers, there is neither skipping nor a second MAC.

    Args:
        skipping: the datapath.
        elements: P.
        macs: of the layer, zeros included.
        nonzero_inputs: fraction.
        random_density: weights left at random places.
        static_density: weights left in a pattern that all elements share, which balances by itself.
        filters: of one group.
        sums_per_element: partial sums that an element holds, the filters that share one read of an input.
    """
    local = macs * static_density / elements
    density = nonzero_inputs * random_density
    spread = np.where(density < 0.5, np.sqrt(density * (1.0 - density)), 0.5)
    slowest = np.minimum(local, local * density + np.sqrt(2.0 * np.log(elements) * local) * spread)
    lanes = np.minimum(filters, float(skipping.macs_per_pe))
    reads = macs / elements * nonzero_inputs / np.minimum(filters, float(sums_per_element))
    unskipped = macs / elements / lanes
    return np.asarray(np.where(filters > 1.0, np.minimum(np.maximum(slowest / lanes, reads), unskipped), unskipped))
