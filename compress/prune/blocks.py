"""Units inside the blocks of a matrix: block rows and block columns (linear layers and 1x1 convolutions)."""

from __future__ import annotations

import numpy as np

from compress.prune.partition import PARTITIONS, Partition, WeightShape
from plan.scheme import BlockColumn, BlockRow, Granularity


def block_rows(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per (output, block of columns); the last block may be ragged."""
    if not isinstance(granularity, BlockRow):
        raise TypeError(f"block_rows cuts BlockRow, not {granularity!r}")
    return Partition(np.arange(shape.rows), np.arange(shape.columns) // granularity.columns)


def block_columns(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per (block of outputs, column); the last block may be ragged."""
    if not isinstance(granularity, BlockColumn):
        raise TypeError(f"block_columns cuts BlockColumn, not {granularity!r}")
    return Partition(np.arange(shape.rows) // granularity.rows, np.arange(shape.columns))


PARTITIONS.register(BlockRow.kind, block_rows)
PARTITIONS.register(BlockColumn.kind, block_columns)
