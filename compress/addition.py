"""What is added to a layer's outputs further on, as the shortcut of a residual block is."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from compress.behind import norm_behind, only_reader
from compress.recalibrate import running

FUNCTIONS = (operator.add, operator.iadd, torch.add)
METHODS = ("add", "add_")
SMALLEST_FACTOR = 0.1
"""Factors of a batch norm much below this share of their mean are not divided by: their outputs hardly count."""


@dataclass(frozen=True)
class Addition:
    """other: computes what is added; norm: the batch norm between layer and addition, None where there is none."""

    other: fx.Node
    norm: nn.BatchNorm2d | None

    def in_outputs(self, difference: Tensor) -> Tensor:
        """Returns by how much the layer's outputs would have to change for the sum to change so, (N, K, P, Q) both."""
        if self.norm is None:
            return difference
        factor = (running(self.norm).variance + self.norm.eps).rsqrt()
        if self.norm.weight is not None:
            factor = factor * self.norm.weight.detach()
        floor = SMALLEST_FACTOR * factor.abs().mean()
        return difference * (factor / (factor.square() + floor.square()))[:, None, None]


def addition_behind(module: fx.GraphModule, node: fx.Node) -> Addition | None:
    """Returns the addition that alone reads a layer's outputs, through at most a batch norm; None where there is none.

    Args:
        module: the network
        node: the call of the layer
    """
    norm, node = norm_behind(module, node)
    reader = only_reader(node)
    if reader is None or not _adds(reader):
        return None
    others = [argument for argument in reader.args if argument is not node]
    return Addition(others[0], norm) if len(others) == 1 and isinstance(others[0], fx.Node) else None


def _adds(node: fx.Node) -> bool:
    known = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op, ())
    return node.target in known and len(node.args) == 2 and not node.kwargs
