"""The shape of everything that a traced network computes, found by running it once on zeros."""

from __future__ import annotations

from typing import Any, Union

import torch
from torch import Tensor, fx

from plan.errors import UnsupportedNetworkError

BATCH = 2
"""Images in the trial run; more than one, so that no dimension of size one is taken for the batch."""


class Shape(tuple[int, ...]):
    """The shape of one tensor, batch of `BATCH` included; a class of its own to differ from a tuple of shapes."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Shape(found) if isinstance(index, slice) else found


ShapeTree = Union[Shape, tuple["ShapeTree", ...], None]
"""A tensor's shape, one tree per element of a list or tuple, None for what is no tensor."""


class _ShapeRecorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, ShapeTree] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.shapes[n] = _shape_tree(result)
        return result


def _shape_tree(value: Any) -> ShapeTree:
    if isinstance(value, Tensor):
        return Shape(value.shape)
    if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
        return tuple(_shape_tree(item) for item in value)
    return None


@torch.no_grad()
def shapes_of(module: fx.GraphModule, input_shape: tuple[int, int, int]) -> dict[fx.Node, ShapeTree]:
    """Returns the shape of every node's output for `BATCH` images of (C, H, W).

    Raises:
        UnsupportedNetworkError: the network cannot be run on such images.
    """
    recorder = _ShapeRecorder(module)
    try:
        recorder.run(torch.zeros(BATCH, *input_shape))
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedNetworkError(f"the network does not run on images of {input_shape}: {reason}") from error
    return recorder.shapes
