"""Which of many points no other point beats in every respect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plan.assignment import FloatArray


def pareto_mask(costs: FloatArray) -> NDArray[np.bool_]:
    """Returns which points are not dominated, bool (n,); of equal points the first is kept.

    Args:
        costs: (n, d) float64, less is better in every column.
    """
    order = np.lexsort(costs.T[::-1])
    remaining = costs[order]
    index = order
    kept = []
    while len(remaining):
        first = remaining[0]
        kept.append(index[0])
        beats = (remaining < first).any(axis=1)
        remaining, index = remaining[beats], index[beats]
    mask = np.zeros(len(costs), dtype=np.bool_)
    mask[np.asarray(kept, dtype=np.int64)] = True
    return mask
