"""How a granularity cuts a weight tensor into units: blocks of rows times sets of columns.

A layer's weights are seen as a matrix: one row per output, one column per input channel and kernel position, in the
order (channel, r, s). A unit is one block of rows times one set of columns, which covers every granularity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plan.registry import Registry
from plan.scheme import Granularity

IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class WeightShape:
    """Rows, channels per row and kernel size of a weight tensor that is left after inherited removals."""

    rows: int
    channels: int
    kernel_h: int
    kernel_w: int

    @property
    def positions(self) -> int:
        """Kernel positions, R * S."""
        return self.kernel_h * self.kernel_w

    @property
    def columns(self) -> int:
        """Columns of the matrix, channels * R * S."""
        return self.channels * self.positions


@dataclass(frozen=True)
class Partition:
    """Units of a matrix: unit (i, j) holds the rows with `row_block` i and the columns with `column_set` j.

    row_block: int64 (rows,); column_set: int64 (columns,); both numbered from 0 without gaps.
    """

    row_block: IndexArray
    column_set: IndexArray

    @property
    def n_blocks(self) -> int:
        """Number of row blocks."""
        return int(self.row_block[-1]) + 1

    @property
    def n_sets(self) -> int:
        """Number of column sets."""
        return int(self.column_set.max()) + 1

    @property
    def units(self) -> int:
        """Number of units."""
        return self.n_blocks * self.n_sets

    def expand(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns the mask (rows, columns) of the kept units, from bool (n_blocks, n_sets)."""
        expanded: NDArray[np.bool_] = keep[self.row_block][:, self.column_set]
        return expanded


PartitionRule = Callable[[Granularity, WeightShape], Partition]
PARTITIONS: Registry[PartitionRule] = Registry("granularity")


def partition(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns the units into which the granularity cuts a weight tensor of that shape."""
    return PARTITIONS.get(granularity.kind)(granularity, shape)


def kept_count(density: float, units: int) -> int:
    """Returns how many of the units are kept: max(1, round(density * units)), halves to even."""
    return max(1, round(density * units))


def column_channel(shape: WeightShape) -> IndexArray:
    """Returns the input channel of every column, int64 (columns,)."""
    return np.repeat(np.arange(shape.channels), shape.positions)


def column_position(shape: WeightShape) -> IndexArray:
    """Returns the kernel position of every column, int64 (columns,)."""
    return np.tile(np.arange(shape.positions), shape.channels)
