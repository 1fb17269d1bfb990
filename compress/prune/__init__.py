"""Which weights a scheme keeps: one unit partition per granularity, one selection for all of them."""

from compress.prune import blocks, elements, kernels, patterns, structured
from compress.prune.elements import groups_of
from compress.prune.partition import PARTITIONS, Partition, WeightShape, kept_count, partition
from compress.prune.selection import best, select

__all__ = [
    "PARTITIONS",
    "Partition",
    "WeightShape",
    "best",
    "blocks",
    "elements",
    "groups_of",
    "kept_count",
    "kernels",
    "partition",
    "patterns",
    "select",
    "structured",
]
