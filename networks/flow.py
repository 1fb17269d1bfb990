"""What one pass over a traced graph knows of channels: state, result, and what every rule needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from networks.channels import ChannelAxis, GroupTable, Span
from networks.shapes import Shape, ShapeTree

Value = ChannelAxis | tuple[ChannelAxis | None, ...] | None
"""What is known of a node's output: a channel axis, one per output, or nothing."""


@dataclass(frozen=True)
class ParameterAxis:
    """Spans along one dimension of a parameter or buffer, by the dotted path of its tensor."""

    path: str
    dim: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class LayerChannels:
    """Input and output spans of one convolution or linear layer."""

    inputs: tuple[Span, ...]
    output: Span


@dataclass
class Coupling:
    """State and result of the pass: groups, the channel axis of every node, layers and sliced parameters."""

    module: fx.GraphModule
    shapes: dict[fx.Node, ShapeTree]
    groups: GroupTable = field(default_factory=GroupTable)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    layers: dict[fx.Node, LayerChannels] = field(default_factory=dict)
    parameters: list[ParameterAxis] = field(default_factory=list)

    def axis(self, node: Any) -> ChannelAxis | None:
        """Returns the node's channel axis, None where none is known."""
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        return value if isinstance(value, ChannelAxis) else None

    def shape(self, node: Any) -> Shape | None:
        """Returns the shape of the node's output, None for what is no tensor."""
        shape = self.shapes.get(node) if isinstance(node, fx.Node) else None
        return shape if isinstance(shape, Shape) else None

    def freeze(self, value: Value, reason: str) -> None:
        """Forbids removal in every group that the value touches."""
        for axis in value if isinstance(value, tuple) else (value,):
            if axis is not None:
                self.groups.freeze(axis.spans, reason)


def operation(node: fx.Node) -> str:
    """Returns the plain name of a function, method or exported operator: no trailing underscore, `iadd` as `add`."""
    if isinstance(node.target, torch._ops.OpOverload):
        name = node.target._schema.name.rpartition("::")[2]
    else:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    name = name.strip("_")
    return name[1:] if name in ("iadd", "isub", "imul", "itruediv") else name


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """Returns an argument of a call, given by position or by name (numpy's `axis` and `keepdims` included)."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, node.kwargs.get({"dim": "axis", "keepdim": "keepdims"}.get(name, name), default))


def unknown(coupling: Coupling, node: fx.Node) -> Value:
    """Freezes everything that the node reads; nothing is known of its output."""
    for source in node.all_input_nodes:
        coupling.freeze(coupling.values[source], f"'{node.name}' mixes the channels or has no coupling rule")
    shape = coupling.shapes[node]
    return None if isinstance(shape, Shape) or shape is None else (None,) * len(shape)


def frozen(coupling: Coupling, axis: ChannelAxis, after: Shape, reason: str) -> ChannelAxis:
    """Freezes an axis and returns a frozen one for what an operation made of it."""
    coupling.freeze(axis, reason)
    return ChannelAxis(axis.dim, (coupling.groups.new(after[axis.dim], reason),))
