"""Bits that move, per level of memory and operand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwmodels.accelerator import FloatArray

Parts = dict[tuple[str, str], FloatArray]
"""(level, operand) -> (B, L): bits, or pJ."""


def dram_bits(bits: Mapping[tuple[str, str], FloatArray]) -> FloatArray:
    """Returns the bits that weights, inputs and outputs move to and from DRAM, (B, L)."""
    return np.asarray(bits["dram", "weights"] + bits["dram", "inputs"] + bits["dram", "outputs"])
