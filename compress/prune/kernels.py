"""Units inside kernels: whole kernels, and one kernel position across a block of filters and channels."""

from __future__ import annotations

import numpy as np

from compress.prune.partition import PARTITIONS, Partition, WeightShape, column_channel, column_position
from plan.scheme import BlockPunched, Granularity, Kernel


def whole_kernels(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per (filter, channel)."""
    return Partition(np.arange(shape.rows), column_channel(shape))


def punched_positions(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per (block of filters, block of channels, kernel position); the last blocks may be ragged."""
    if not isinstance(granularity, BlockPunched):
        raise TypeError(f"punched_positions cuts BlockPunched, not {granularity!r}")
    block = column_channel(shape) // granularity.channels
    return Partition(np.arange(shape.rows) // granularity.filters, block * shape.positions + column_position(shape))


PARTITIONS.register(Kernel.kind, whole_kernels)
PARTITIONS.register(BlockPunched.kind, punched_positions)
