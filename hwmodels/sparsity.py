"""What zeros save: gated operations and run-length coded feature maps."""

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
