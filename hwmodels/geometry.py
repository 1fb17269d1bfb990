"""Shapes as the row-stationary array sees them: one group of a convolution, kernels folded until they fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plan.layer import Layer

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class GroupShape:
    """One group of a layer: `filters` x `channels` kernels of R x S on `images` inputs; the key of a mapping.

    H, W is the unpadded input, P, Q the output. Example: AlexNet CONV2 (two groups) -> filters 128, channels 48.
    """

    filters: int
    channels: int
    R: int
    S: int
    P: int
    Q: int
    H: int
    W: int
    stride: int
    images: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the group for all images."""
        return self.images * self.filters * self.channels * self.R * self.S * self.P * self.Q

    @property
    def columns_padded(self) -> int:
        """Input columns that a strip streams, padding included; with stride >= S only the columns that are used."""
        return self.Q * self.S if self.stride >= self.S else (self.Q - 1) * self.stride + self.S

    @property
    def columns(self) -> int:
        """Input columns that are read, padding excluded."""
        return min(self.W, self.columns_padded)

    def rows_padded(self, outputs: IntArray) -> IntArray:
        """Returns the input rows that `outputs` consecutive output rows need, padding included."""
        if self.stride >= self.R:
            return outputs * self.R
        return (outputs - 1) * self.stride + self.R

    def rows_read(self, rows_per_strip: int) -> int:
        """Returns the unpadded input rows read for all strips of so many output rows, overlap between strips included.

        Example: H = P = 4, R = 3, stride 1, padding 1: strips of 2 read rows 0-2 and 1-3, six rows in all.
        """
        rows = 1 if self.stride >= self.R else rows_per_strip
        first = np.arange(0, self.P, rows)
        last = np.minimum(first + rows, self.P) - 1
        padding_top = -(-max(0, (self.P - 1) * self.stride + self.R - self.H) // 2)
        start = np.maximum(first * self.stride - padding_top, 0)
        stop = np.minimum(last * self.stride - padding_top + self.R, self.H)
        return int(np.maximum(stop - start, 0).sum())


def layer_column(layers: Sequence[Layer], name: str) -> FloatArray:
    """Returns one number of every layer, float64 (L,)."""
    return np.array([getattr(layer, name) for layer in layers], dtype=np.float64)


def fold_kernel(rows: int, limit: int) -> tuple[int, int]:
    """Returns (pieces, size of a piece) for a kernel dimension that exceeds the array: pieces count as channels.

    Example: fold_kernel(16, 12) -> (2, 8).
    """
    pieces = math.ceil(rows / limit)
    return pieces, math.ceil(rows / pieces)


def effective_groups(groups: FloatArray, channels: FloatArray, filters: FloatArray) -> FloatArray:
    """Returns the groups that are left: a depthwise layer loses one with every channel, others keep theirs.

    All arguments broadcast. Example: depthwise 32 groups, 20 channels kept -> 20; 4 groups, 20 of 32 kept -> 4.
    """
    return np.minimum(groups, np.minimum(channels, filters))


def group_shape(layer: Layer, rows_limit: int, columns_limit: int, images: int = 1) -> tuple[GroupShape, int]:
    """Returns (shape of one dense group, kernel pieces folded into its channels)."""
    row_pieces, rows = fold_kernel(layer.R, rows_limit)
    column_pieces, columns = fold_kernel(layer.S, columns_limit)
    pieces = row_pieces * column_pieces
    groups = min(layer.groups, layer.C, layer.K)
    shape = GroupShape(
        filters=max(1, layer.K // groups),
        channels=max(1, layer.C // groups) * pieces,
        R=rows,
        S=columns,
        P=layer.P,
        Q=layer.Q,
        H=layer.H,
        W=layer.W,
        stride=layer.stride,
        images=images,
    )
    return shape, pieces
