"""Patterns of 3 x 3 kernels: every kernel keeps the shape of the set that is worth most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.prune.elements import single_weights
from compress.prune.partition import PARTITIONS, WeightShape
from plan.patterns import patterns_of
from plan.scheme import KERNEL_POSITIONS, Pattern


def pattern_masks(keep: int) -> NDArray[np.bool_]:
    """Returns which positions each pattern keeps, bool (patterns, 9)."""
    masks = np.zeros((len(patterns_of(keep)), KERNEL_POSITIONS), dtype=bool)
    for mask, shape in zip(masks, patterns_of(keep), strict=True):
        mask[list(shape)] = True
    return masks


def best_patterns(scores: NDArray[np.float64], shape: WeightShape, granularity: Pattern) -> NDArray[np.bool_]:
    """Returns the mask (rows, columns) in which every kernel keeps its pattern of the largest sum of scores."""
    masks = pattern_masks(granularity.keep)
    kernels = scores.reshape(-1, KERNEL_POSITIONS)
    keep: NDArray[np.bool_] = masks[np.argmax(kernels @ masks.T.astype(np.float64), axis=1)]
    return keep.reshape(shape.rows, shape.columns)


def fits_pattern(used: NDArray[np.bool_], granularity: Pattern) -> NDArray[np.bool_]:
    """Returns which kernels hold weights inside one pattern only, bool (kernels,), from used positions (kernels, 9)."""
    outside = used.astype(np.int64) @ (~pattern_masks(granularity.keep)).T.astype(np.int64)
    fits: NDArray[np.bool_] = (outside == 0).any(axis=1)
    return fits


PARTITIONS.register(Pattern.kind, single_weights)
