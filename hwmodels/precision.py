"""What bit-widths do to the energy of a multiply-accumulate and to the width of partial sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MacEnergy:
    """Constants of `mac_energy_pj`.

    Horowitz's multiplier scales with the product of the operand widths, his adder with its own width. Against
    BitFusion's synthesis of whole PEs: -2 % at 16x16, -8 % at 8x8, -17 % at 4x4, -13 % at 2x2.

    Source: Horowitz, ISSCC 2014 (45 nm, 0.9 V): 8-bit integer multiply 0.2 pJ, 32-bit integer add 0.1 pJ.
    """

    multiply_8x8_pj: float
    add_32b_pj: float
    guard_bits: int


def psum_bits(mac: MacEnergy, weight_bits: FloatArray, input_bits: FloatArray) -> FloatArray:
    """Returns the width of a partial sum: the product's width plus guard bits. Any shapes that broadcast."""
    return weight_bits + input_bits + mac.guard_bits


def mac_energy_pj(mac: MacEnergy, weight_bits: FloatArray, input_bits: FloatArray) -> FloatArray:
    """Returns e(bw, ba) = multiply * bw * ba / 64 + add * (bw + ba + guard) / 32. Any shapes that broadcast.

    Example: bw = ba = 8, guard 8 -> 0.2 * 1 + 0.1 * 24 / 32 = 0.275 pJ.
    """
    multiply = mac.multiply_8x8_pj * weight_bits * input_bits / 64.0
    return multiply + mac.add_32b_pj * psum_bits(mac, weight_bits, input_bits) / 32.0
