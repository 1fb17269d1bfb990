"""Rounding column by column, for one convolution group on the processor: what `compress.solver` does, in fewer steps.

Matrices are (D, K), one column of the weights a row. Everything is counted in levels, so that no step multiplies by
scales, and what earlier columns ask of a column is gathered when its turn comes, which moves half of the memory. One
torch call a step would cost as much as the step itself; numpy's are cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float32]
BLOCK, STRIP = 128, 32
"""Columns whose effect on all later ones is gathered into one product, and within such a block into smaller ones."""


@dataclass(frozen=True)
class Levels:
    """What whole-numbered levels a column may take: scale (K,), lowest and highest (K,)."""

    scale: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, scale: Tensor, low: int, high: int, zero_point: Tensor | None) -> Levels:
        """Returns it for scales (K,), levels low to high, less zero points (K,) if there are any."""
        zero = 0.0 if zero_point is None else zero_point.float().numpy()
        ends = [np.ascontiguousarray(np.broadcast_to(np.float32(end) - zero, scale.shape)) for end in (low, high)]
        return cls(scale.numpy(), *(end.astype(np.float32) for end in ends))

    def settle(self, column: FloatArray, free: FloatArray) -> None:
        """Brings a column (K,) to its nearest levels, 0 where it is not free, in place."""
        np.rint(column, out=column)
        np.maximum(column, self.low, out=column)
        np.minimum(column, self.high, out=column)
        np.multiply(column, free, out=column)


def round_columns(weight: Tensor, mask: Tensor, upper: Tensor, levels: Levels) -> Tensor:
    """Returns the weights (D, K) on the grid, each column's error moved onto the columns after it, see `solver`."""
    scale = torch.from_numpy(levels.scale)
    work = weight / scale
    free, size = mask.numpy(), len(weight)
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        errors = torch.empty(end - start, weight.shape[1])
        for first in range(start, end, STRIP):
            last = min(first + STRIP, end)
            own = errors[first - start : last - start]
            triangle = upper[first:last, first:last].T.contiguous().numpy()
            _round_strip(work[first:last].numpy(), free[first:last], triangle, levels, own.numpy())
            work[last:end].addmm_(upper[first:last, last:end].T, own, alpha=-1)
        work[end:].addmm_(upper[start:end, end:].T, errors, alpha=-1)
    return work.mul_(scale)


def _round_strip(work: FloatArray, free: FloatArray, triangle: FloatArray, levels: Levels, errors: FloatArray) -> None:
    """Rounds a few columns (d, K) in place and writes what each moves on, (d, K); triangle: (d, d), lower."""
    gathered = np.empty(work.shape[1], np.float32)
    inverse = 1 / triangle.diagonal()
    for i, (column, error) in enumerate(zip(work, errors, strict=True)):
        if i:
            np.dot(triangle[i, :i], errors[:i], out=gathered)
            np.subtract(column, gathered, out=column)
        error[:] = column
        levels.settle(column, free[i])
        np.subtract(error, column, out=error)
        np.multiply(error, inverse[i], out=error)


def descend_columns(weight: Tensor, target: Tensor, mask: Tensor, moment: Tensor, levels: Levels) -> Tensor:
    """Returns the weights (D, K) after one pass of coordinate descent over the columns, see `solver`."""
    scale = torch.from_numpy(levels.scale)
    gradient = (moment @ (weight - target)).div_(scale)
    work = weight / scale
    free, size = mask.numpy(), len(weight)
    inverse = (-1 / moment.diagonal()).numpy()
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        changes = torch.empty(end - start, weight.shape[1])
        for first in range(start, end, STRIP):
            last = min(first + STRIP, end)
            own, square = changes[first - start : last - start], moment[first:last, first:last].contiguous().numpy()
            columns = work[first:last].numpy(), gradient[first:last].numpy(), free[first:last]
            _descend_strip(*columns, square, inverse[first:last], levels, own.numpy())
            gradient[last:end].addmm_(moment[last:end, first:last], own)
        gradient[end:].addmm_(moment[end:, start:end], changes)
    return work.mul_(scale)


def _descend_strip(
    work: FloatArray,
    gradient: FloatArray,
    free: FloatArray,
    square: FloatArray,
    inverse: FloatArray,
    levels: Levels,
    changes: FloatArray,
) -> None:
    """Brings a few columns (d, K) in turn to their best levels, in place, and writes their changes (d, K).

    square: (d, d) moments; inverse: (d,), minus one over their diagonal.
    """
    best = np.empty(work.shape[1], np.float32)
    for i, (column, change) in enumerate(zip(work, changes, strict=True)):
        if i:
            np.dot(square[i, :i], changes[:i], out=best)
            np.add(best, gradient[i], out=best)
            np.multiply(best, inverse[i], out=best)
        else:
            np.multiply(gradient[i], inverse[i], out=best)
        np.add(best, column, out=best)
        levels.settle(best, free[i])
        np.subtract(best, column, out=change)
        column[:] = best
