"""Units that disappear physically: filters and input channels of one layer's matrix."""

from __future__ import annotations

import numpy as np

from compress.prune.partition import PARTITIONS, Partition, WeightShape, column_channel
from plan.scheme import Channel, Filter, Granularity


def filters(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per output."""
    return Partition(np.arange(shape.rows), np.zeros(shape.columns, dtype=np.int64))


def channels(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per input channel."""
    return Partition(np.zeros(shape.rows, dtype=np.int64), column_channel(shape))


PARTITIONS.register(Filter.kind, filters)
PARTITIONS.register(Channel.kind, channels)
