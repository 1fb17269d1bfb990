"""Which of many points no other point beats in every respect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plan.assignment import FloatArray, IntArray


def pareto_mask(costs: FloatArray) -> NDArray[np.bool_]:
    """Returns which points are not dominated, bool (n,); of equal points the first is kept.

    Args:
        costs: (n, d) float64, finite, less is better in every column.
    """
    order = np.lexsort(costs.T[::-1])
    mask = np.zeros(len(costs), dtype=np.bool_)
    mask[order[_falling(costs[order, 1]) if costs.shape[1] == 2 else _eliminated(costs[order])]] = True
    return mask


def _falling(second: FloatArray) -> IntArray:
    """Returns where the second column, sorted by the first, falls below all before it."""
    return np.flatnonzero(np.concatenate(([True], second[1:] < np.minimum.accumulate(second)[:-1])))


def _eliminated(remaining: FloatArray) -> IntArray:
    """Returns which of lexicographically sorted points stay: each in turn removes all that it dominates."""
    index, kept = np.arange(len(remaining)), []
    while len(remaining):
        kept.append(index[0])
        beats = (remaining < remaining[0]).any(axis=1)
        remaining, index = remaining[beats], index[beats]
    return np.asarray(kept, dtype=np.int64)
