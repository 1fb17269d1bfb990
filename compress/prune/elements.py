"""Units of single weights: element and n:m."""

from __future__ import annotations

import numpy as np

from compress.prune.partition import PARTITIONS, Partition, WeightShape
from plan.scheme import Element, Granularity, NofM


def single_weights(granularity: Granularity, shape: WeightShape) -> Partition:
    """Returns one unit per weight."""
    return Partition(np.arange(shape.rows), np.arange(shape.columns))


PARTITIONS.register(Element.kind, single_weights)
PARTITIONS.register(NofM.kind, single_weights)
