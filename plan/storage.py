"""Stored bits of a pruned weight tensor: values plus index, in the best format that the hardware reads.

`n` weights, `kept` of them nonzero, `bits` per value, `units` removable units. Formulas: Chen et al., JETCAS 2019 (CSC
with 4-bit counts), Chen et al., JSSC 2017 (run-length code with 5-bit runs), and first principles for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plan.assignment import FloatArray, IntArray
from plan.errors import InvalidValueError
from plan.patterns import INDEX_BITS as PATTERN_BITS

CSC_COUNT_BITS = 4
CSC_ADDRESS_BITS = 7
RUN_BITS = 5
FORMATS = ("dense", "bitmask", "csc", "rlc", "block", "n:m", "pattern")
BLOCK_KINDS = ("kernel", "block-punched", "block-row", "block-column")


@dataclass(frozen=True)
class Stored:
    """Bits of a stored tensor; `total_bits` includes `index_bits`. Arrays of one shape."""

    total_bits: FloatArray
    index_bits: FloatArray


def check_formats(formats: Sequence[str]) -> None:
    """Checks names of storage formats.

    Raises:
        InvalidValueError: an unknown format, or "dense" is missing.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or "dense" not in formats:
        raise InvalidValueError(
            f"storage formats {list(formats)}: each must be one of {list(FORMATS)}, 'dense' among them"
        )


def index_bits(
    name: str,
    *,
    n: FloatArray,
    kept: FloatArray,
    bits: FloatArray,
    units: FloatArray,
    outputs: FloatArray,
    m: FloatArray,
) -> FloatArray:
    """Returns the bits that a format stores beside the `kept` nonzero values; arrays of one shape, float64."""
    if name == "bitmask":
        return n
    if name == "csc":
        return kept * CSC_COUNT_BITS + (outputs + 1) * CSC_ADDRESS_BITS
    if name == "rlc":
        longer = 1.0 - kept / n
        for _ in range(RUN_BITS):
            longer = longer * longer
        pairs: FloatArray = kept / (1.0 - longer)
        return pairs * (bits + RUN_BITS) - kept * bits
    if name == "block":
        return units
    if name == "pattern":
        return units * PATTERN_BITS
    offsets: FloatArray = kept * np.ceil(np.log2(np.maximum(m, 2.0)))
    return offsets


def applicable(name: str, kind: str) -> bool:
    """Returns whether a format can hold a tensor pruned at that granularity."""
    if name == "block":
        return kind in BLOCK_KINDS
    if name in ("n:m", "pattern"):
        return kind == name
    return name != "dense"


def stored_bits(
    formats: Sequence[str],
    kinds: Sequence[str],
    kind_index: IntArray,
    *,
    n: FloatArray,
    kept: FloatArray,
    bits: FloatArray,
    units: FloatArray,
    outputs: FloatArray,
    m: FloatArray,
) -> Stored:
    """Returns the smallest storage among the formats that apply, never more than dense.

    Args:
        formats: what the hardware reads.
        kinds: names of granularities; `kind_index` points into them, elementwise.
        kind_index: integer array; all other arrays have its shape, float64.
        n: weights of the tensor that is left, zeros included.
        kept: nonzero weights.
        bits: width of a value.
        units: removable units in the tensor.
        outputs: output channels left.
        m: block length of n:m, 0 elsewhere.
    """
    smallest = np.full(n.shape, np.inf)
    for name in formats:
        here = np.array([applicable(name, kind) for kind in kinds])
        if here.any():
            extra = index_bits(name, n=n, kept=kept, bits=bits, units=units, outputs=outputs, m=m)
            np.minimum(smallest, extra, out=smallest, where=here.take(kind_index))
    dense, packed = n * bits, kept * bits + smallest
    better = packed < dense
    return Stored(np.where(better, packed, dense), np.where(better, smallest, 0.0))
