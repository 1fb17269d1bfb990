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


def active_fraction(nonzero_inputs: FloatArray, weight_density: FloatArray) -> FloatArray:
    """Returns the fraction of MACs with two nonzero operands, zeros placed independently; shapes broadcast."""
    return nonzero_inputs * weight_density


@dataclass(frozen=True)
class Skipping:
    """An array whose elements skip zeros of both operands, each doing up to `macs_per_pe` (one or two) MACs a cycle.

    `weight_bits_per_cycle` is what the on-chip network delivers to all elements together. DRAM overlaps with the work.

    Source: Chen et al., JETCAS 9(2) 2019 (Eyeriss v2).
    """

    macs_per_pe: int
    weight_bits_per_cycle: float


def column_cycles(lanes: int, filters: FloatArray, density: FloatArray) -> FloatArray:
    """Returns the expected cycles that an element spends on one nonzero input; arrays broadcast.

    Of the weights of its `filters` a random fraction is left; they are done `lanes` at a time, and an input without any
    costs a cycle too: the mean of max(1, ceil(B / lanes)) for binomial B, at most what all filters take.
    Example: two lanes, 16 filters, density 1 -> 8; density 0 -> 1.
    """
    whole = np.ceil(filters)
    none = (1.0 - density) ** whole
    odd = 0.5 * (1.0 - (1.0 - 2.0 * density) ** whole) if lanes == 2 else 0.0
    expected = (whole * density + odd) / lanes + none
    return np.asarray(np.minimum(expected, np.maximum(1.0, np.ceil(whole / lanes))))


def skipping_cycles(
    skipping: Skipping,
    *,
    elements: int,
    columns: FloatArray,
    filters: FloatArray,
    nonzero_inputs: FloatArray,
    random_density: FloatArray,
    static_density: FloatArray,
) -> FloatArray:
    """Returns the cycles of the slowest element in one pass, between two synchronisations; arrays broadcast.

    The slowest of P elements takes sqrt(2 ln P) standard deviations more than the mean (the deviation of a fraction rho
    of the MACs is held at its largest above rho = 1/2, so that fewer MACs never take longer), but never more than
    without zeros. It reads every nonzero input even when all its weights are zero.

    Args:
        skipping: the datapath.
        elements: P.
        columns: inputs that an element meets in a pass, zeros included.
        filters: that share an input in an element.
        nonzero_inputs: fraction.
        random_density: weights left at random places.
        static_density: weights left in a pattern that all elements share, which balances by itself.
    """
    lanes = skipping.macs_per_pe
    kept = columns * static_density
    mean = kept * nonzero_inputs * column_cycles(lanes, filters, random_density)
    density = nonzero_inputs * random_density
    spread = np.where(density < 0.5, np.sqrt(density * (1.0 - density)), 0.5)
    slowest = mean + np.sqrt(2.0 * np.log(elements) * kept * filters) * spread / lanes
    unskipped = kept * np.maximum(1.0, np.ceil(filters / lanes))
    return np.asarray(np.maximum(np.minimum(slowest, unskipped), columns * nonzero_inputs))
