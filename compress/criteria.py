"""What each unit of a weight matrix is worth: mean norms, or the loss that removing it costs at second order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.prune.partition import IndexArray, Partition
from plan.errors import InvalidValueError
from plan.scheme import ALGORITHMS

ScoreArray = NDArray[np.float64]
LARGEST_EXACT_SET = 64
"""Column sets above this size are scored with the moments themselves instead of the inverse of the inverse's block."""


MAGNITUDES = ("level", "l1", "fm-reconstruction")
"""Rank by |w|; means over units where these hold several weights."""
RANKINGS = (*MAGNITUDES, "l2", "sensitivity")
HYSTERESIS_LOW, HYSTERESIS_HIGH = 0.9, 1.1
"""Shares of the threshold under which a kept weight goes and above which a removed one returns: those of the reference
code of dynamic network surgery."""


def norm_scores(weight: Tensor, cut: Partition, algorithm: str) -> ScoreArray:
    """Returns the mean |w|, w^2 (l2) or |w| / std of the output (sensitivity) of units, float64 (n_blocks, n_sets).

    Means, not sums, so that a ragged unit at the edge is not removed for being small.

    Args:
        weight: (rows, columns) float32
        cut: the units
        algorithm: one of `RANKINGS`
    """
    if algorithm not in RANKINGS:
        raise InvalidValueError(
            f"algorithm '{algorithm}' ranks by no norm (allowed: {', '.join(RANKINGS)}; all: {ALGORITHMS})"
        )
    values = weight.double().square() if algorithm == "l2" else weight.double().abs()
    if algorithm == "sensitivity":
        values /= weight.double().std(1, correction=0, keepdim=True).clamp_min(1e-30)
    sums = _sum_units(values, cut)
    sizes = np.bincount(cut.row_block)[:, None] * np.bincount(cut.column_set)[None, :]
    means: ScoreArray = sums.numpy() / sizes
    return means


def spliced_scores(refitted: Tensor, kept: Tensor) -> ScoreArray:
    """Returns scores of single weights that let the present mask stand where it is a close thing, float64.

    A threshold on them is the rule of dynamic network surgery: under `HYSTERESIS_LOW` of it a weight goes, above
    `HYSTERESIS_HIGH` it returns, between them it stays what it is.

    Args:
        refitted: (rows, columns), kept weights as they are, removed ones as they would be
        kept: bool, of the same shape
    """
    scores: ScoreArray = (refitted.double().abs() / torch.where(kept, HYSTERESIS_LOW, HYSTERESIS_HIGH)).numpy()
    return scores


def _sum_units(values: Tensor, cut: Partition) -> Tensor:
    by_set = torch.zeros(values.shape[0], cut.n_sets, dtype=values.dtype)
    by_set.index_add_(1, torch.from_numpy(cut.column_set), values)
    return sum_blocks(by_set, cut.row_block)


def sum_blocks(values: Tensor, row_block: IndexArray) -> Tensor:
    """Returns the sums over blocks of rows, (n_blocks, sets), of values (rows, sets)."""
    sums = torch.zeros(int(row_block[-1]) + 1, values.shape[1], dtype=values.dtype)
    return sums.index_add_(0, torch.from_numpy(row_block), values)


def set_costs(weight: Tensor, inverse: Tensor, moment: Tensor, column_set: IndexArray, n_sets: int) -> Tensor:
    """Returns what removing each row's weights in a set of columns costs when the rest is refitted, (rows, sets).

    The block form of the optimal brain surgeon: w_B [(H^-1)_BB]^-1 w_B^T, without the factor 1/2. Sets of more than 64
    columns use w_B H_BB w_B^T, the cost without refitting, which is an upper bound.

    Args:
        weight: (rows, D)
        inverse: (D, D), of the damped second moments
        moment: (D, D), the damped second moments
        column_set: int64 (D,), the set of every column
        n_sets: how many sets there are; sets without a column cost nothing

    Source: Frantar and Alistarh, Optimal Brain Compression (arXiv 2208.11580), equation 7.
    """
    sizes = np.bincount(column_set, minlength=n_sets)
    order = np.argsort(column_set, kind="stable")
    starts = np.cumsum(sizes) - sizes
    costs = torch.zeros(weight.shape[0], len(sizes), dtype=weight.dtype)
    for size in np.unique(sizes[sizes > 0]):
        chosen = np.flatnonzero(sizes == size)
        columns = torch.from_numpy(order[starts[chosen][:, None] + np.arange(size)])
        costs[:, torch.from_numpy(chosen)] = _equal_set_costs(weight, inverse, moment, columns)
    return costs


def _equal_set_costs(weight: Tensor, inverse: Tensor, moment: Tensor, columns: Tensor) -> Tensor:
    """Returns the costs (rows, sets) for sets of one size; columns: int64 (sets, size)."""
    size = columns.shape[1]
    if size == 1:
        return weight[:, columns[:, 0]].square() / inverse.diagonal()[columns[:, 0]]
    rows, across = columns[:, :, None], columns[:, None, :]
    blocks = torch.linalg.inv(inverse[rows, across]) if size <= LARGEST_EXACT_SET else moment[rows, across]
    parts = weight[:, columns].transpose(0, 1)
    return ((parts @ blocks) * parts).sum(-1).T
