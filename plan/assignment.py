"""What every layer of a batch of plans has become once coupling and inheritance are resolved.

This is what a hardware model prices: plain arrays, no choices, no indices into a space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Assignment:
    """Arrays of one shape (B, L): B plans of L layers (or of the L layers asked for).

    kept_inputs, kept_outputs: int64, input and output channels left (C', K'); a removed channel costs nothing
    weight_density: float64 in (0, 1], kept/total weights inside the K' x C' tensor that is left
    granularity: int64, position in `GRANULARITIES` (the kind only; block sizes have entered the stored bits)
    stored_bits: float64, bits of the stored weights, values and index together
    index_bits: float64, the index part of `stored_bits`
    weight_bits, input_bits, output_bits: int64 widths of weights, of the tensor read and of the tensor written
    """

    kept_inputs: IntArray
    kept_outputs: IntArray
    weight_density: FloatArray
    granularity: IntArray
    stored_bits: FloatArray
    index_bits: FloatArray
    weight_bits: IntArray
    input_bits: IntArray
    output_bits: IntArray
