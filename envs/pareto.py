"""Which of many points no other point beats in both respects."""

from __future__ import annotations

import numpy as np

from plan.assignment import FloatArray, IntArray


def undominated(costs: FloatArray, errors: FloatArray) -> IntArray:
    """Returns the rows that no other beats in both numbers, by rising cost; the first of equals.

    Args:
        costs: (n,) float64, less is better.
        errors: (n,) float64, less is better.
    """
    order = np.lexsort((errors, costs))
    before = np.minimum.accumulate(np.concatenate(([np.inf], errors[order][:-1])))
    return order[errors[order] < before]
