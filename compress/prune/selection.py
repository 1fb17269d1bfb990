"""Which units are kept: exactly the asked number, best scores first, the earlier unit on a tie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.prune.partition import Partition, WeightShape, kept_count
from compress.prune.patterns import best_patterns
from plan.scheme import Granularity, NofM, Pattern

BoolArray = NDArray[np.bool_]
ScoreArray = NDArray[np.float64]


def best(scores: ScoreArray, count: int) -> BoolArray:
    """Returns a bool array of the scores' shape with the `count` highest scores True; ties go to the earlier."""
    flat = scores.ravel()
    if count >= flat.size:
        return np.ones(scores.shape, dtype=bool)
    threshold = np.partition(flat, flat.size - count)[flat.size - count]
    keep: BoolArray = flat > threshold
    tied = np.flatnonzero(flat == threshold)
    keep[tied[: count - int(keep.sum())]] = True
    return keep.reshape(scores.shape)


def best_of_every(scores: ScoreArray, shape: WeightShape, granularity: NofM) -> BoolArray:
    """Returns the mask (rows, columns) that keeps n of every m consecutive channels at each kernel position.

    Where the channels are no multiple of m, the last group has fewer than m and still keeps up to n.
    """
    groups = -(-shape.channels // granularity.m)
    padded = np.full((shape.rows, groups * granularity.m, shape.positions), -np.inf)
    padded[:, : shape.channels] = scores.reshape(shape.rows, shape.channels, shape.positions)
    split = padded.reshape(shape.rows, groups, granularity.m, shape.positions)
    order = np.argsort(-split, axis=2, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(granularity.m)[None, None, :, None], axis=2)
    keep = (rank < granularity.n_keep).reshape(shape.rows, -1, shape.positions)[:, : shape.channels]
    return keep.reshape(shape.rows, shape.columns)


def _best_of_groups(scores: ScoreArray, shape: WeightShape, granularity: NofM | Pattern) -> BoolArray:
    if isinstance(granularity, NofM):
        return best_of_every(scores, shape, granularity)
    return best_patterns(scores, shape, granularity)


def select(
    scores: ScoreArray,
    *,
    granularity: Granularity,
    cut: Partition,
    shape: WeightShape,
    density: float,
    share: float = 1.0,
) -> BoolArray:
    """Returns the weight mask (rows, columns), True = kept.

    Args:
        scores: (n_blocks, n_sets) float64, what each unit is worth keeping
        granularity: what the units are
        cut: the granularity's partition of the tensor
        shape: the tensor's shape
        density: kept fraction of the units, met exactly as `kept_count`; n:m keeps n of every m and pattern
            its positions whatever it says
        share: part of the removals that is made, 1 = all, less on the way there; the cheapest come first
    """
    if isinstance(granularity, NofM | Pattern):
        keep = _best_of_groups(scores, shape, granularity)
        made = round(share * int(keep.size - keep.sum()))
        return best(np.where(keep, np.inf, scores), keep.size - made)
    removed = round(share * (cut.units - kept_count(density, cut.units)))
    return cut.expand(best(scores, cut.units - removed))
