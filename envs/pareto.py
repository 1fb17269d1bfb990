"""Which of many points no other point beats in both respects."""

from __future__ import annotations

import numpy as np

from plan.assignment import FloatArray, IntArray

SAMPLE = 128
"""Rows, about, that the others are compared with before anything is sorted."""


def undominated(costs: FloatArray, errors: FloatArray) -> IntArray:
    """Returns the rows that no other beats in both numbers, by rising cost; the first of equals.

    Args:
        costs: (n,) float64, less is better.
        errors: (n,) float64, less is better.
    """
    rows = _not_surely_beaten(costs, errors)
    costs, errors = costs[rows], errors[rows]
    order = np.lexsort((errors, costs))
    before = np.minimum.accumulate(np.concatenate(([np.inf], errors[order][:-1])))
    return np.asarray(rows[order[errors[order] < before]])


def _not_surely_beaten(costs: FloatArray, errors: FloatArray) -> IntArray:
    """Returns the rows that none of a small sample of the rows beats: what is worth sorting.

    A row is beaten by one of strictly less cost and no more error.
    """
    sample = np.arange(0, len(costs), max(len(costs) // SAMPLE, 1))
    sample = sample[np.argsort(costs[sample])]
    least = np.minimum.accumulate(np.concatenate(([np.inf], errors[sample])))
    return np.flatnonzero(errors < least[np.searchsorted(costs[sample], costs)])
