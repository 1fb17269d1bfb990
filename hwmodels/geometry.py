"""Shapes as the row-stationary array sees them: one group of a convolution, kernels folded until they fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plan.assignment import Assignment
from plan.layer import Layer, Network

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


@dataclass(frozen=True)
class LayerShapes:
    """What arrays that fold no kernels need of every layer, float64 (L,).

    positions: P * Q; columns: Q; kernel: R * S; pixels: of one channel that are read; from_image: 1 where the network's
    own input is read, which comes from DRAM as it is
    """

    groups: FloatArray
    positions: FloatArray
    columns: FloatArray
    kernel: FloatArray
    pixels: FloatArray
    zero_in: FloatArray
    zero_out: FloatArray
    from_image: FloatArray


def layer_shapes(network: Network, layers: Sequence[int]) -> LayerShapes:
    """Returns the shapes of the layers at these positions of a network."""
    picked = [network.layers[index] for index in layers]
    shapes = [group_shape(layer, max(1, layer.R), max(1, layer.S))[0] for layer in picked]
    image = network.layers[0].input_tensor
    return LayerShapes(
        groups=layer_column(picked, "groups"),
        positions=layer_column(picked, "P") * layer_column(picked, "Q"),
        columns=layer_column(picked, "Q"),
        kernel=layer_column(picked, "R") * layer_column(picked, "S"),
        pixels=np.array([shape.rows_read(shape.P) * shape.columns for shape in shapes], dtype=np.float64),
        zero_in=layer_column(picked, "input_zero_fraction"),
        zero_out=layer_column(picked, "output_zero_fraction"),
        from_image=np.array([layer.input_tensor == image for layer in picked], dtype=np.float64),
    )


@dataclass(frozen=True)
class Kept:
    """Channels that plans leave, float64 (B, L): inputs and outputs in all, channels and filters per group."""

    inputs: FloatArray
    outputs: FloatArray
    groups: FloatArray
    channels: FloatArray
    filters: FloatArray


def kept_channels(groups: FloatArray, assignment: Assignment) -> Kept:
    """Returns what is left of layers with so many groups, (L,)."""
    inputs, outputs = assignment.kept_inputs.astype(np.float64), assignment.kept_outputs.astype(np.float64)
    left = effective_groups(groups, inputs, outputs)
    return Kept(inputs, outputs, left, channels=inputs / left, filters=outputs / left)
