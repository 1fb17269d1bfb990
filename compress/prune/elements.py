"""Units of single weights: element and n:m."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.prune.partition import PARTITIONS, Partition, WeightShape
from plan.scheme import Element, Granularity, NofM


def single_weights(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per weight."""
    return Partition(np.arange(shape.rows), np.arange(shape.columns))


PARTITIONS.register(Element.kind, single_weights)
PARTITIONS.register(NofM.kind, single_weights)


def groups_of(granularity: NofM, shape: WeightShape) -> NDArray[np.int64]:
    """Returns the columns of every group of m channels at one position, int64 (groups, m).

    Where the channels are no multiple of m, the last groups are filled up with the number of all columns.
    """
    count = -(-shape.channels // granularity.m)
    padded = np.full((count * granularity.m, shape.positions), shape.columns)
    padded[: shape.channels] = np.arange(shape.columns).reshape(shape.channels, shape.positions)
    return padded.reshape(count, granularity.m, shape.positions).transpose(0, 2, 1).reshape(-1, granularity.m)
