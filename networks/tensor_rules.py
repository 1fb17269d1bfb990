"""How operations without weights treat channels: element-wise, joining, listing, reshaping and dividing ones."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import fx

from networks.channels import ChannelAxis, Span
from networks.flow import Coupling, ParameterAxis, Value, argument, frozen, operation, unknown
from networks.shapes import Shape


def same(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels: an element-wise operation."""
    if len(node.all_input_nodes) > 1:
        return binary(coupling, node)
    return coupling.axis(node.all_input_nodes[0])


def pooling(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels where they are dimension 1, in front of the pooled ones."""
    axis = coupling.axis(node.all_input_nodes[0])
    return axis if axis is not None and axis.dim == 1 else unknown(coupling, node)


def binary(coupling: Coupling, node: fx.Node) -> Value:
    """Joins the operands' channels; a parameter that is as long as the channels is sliced with them."""
    out, operands = coupling.shape(node), node.all_input_nodes
    if out is None or any(coupling.shape(source) is None for source in operands):
        return unknown(coupling, node)  # a number worked out from sizes might change when channels go
    known = [(source, _aligned(coupling, source, len(out))) for source in operands]
    axes = [axis for source, axis in known if axis is not None and not _broadcast(coupling, source, axis.dim, out)]
    if not axes or len({(axis.dim, axis.length) for axis in axes}) > 1:
        return unknown(coupling, node)
    for source, axis in known:
        if axis is None and not _broadcast(coupling, source, axes[0].dim, out):
            _meet_unknown(coupling, node, source, axes[0])
        elif axis is not None and axis not in axes:
            coupling.freeze(axis, f"'{node.name}' spreads one channel over many")
    for axis in axes[1:]:
        coupling.groups.join(axes[0].spans, axis.spans, f"'{node.name}'")
    return axes[0]


def _aligned(coupling: Coupling, source: Any, dims: int) -> ChannelAxis | None:
    axis, shape = coupling.axis(source), coupling.shape(source)
    return None if axis is None or shape is None else ChannelAxis(axis.dim + dims - len(shape), axis.spans)


def _broadcast(coupling: Coupling, source: Any, dim: int, out: Shape) -> bool:
    """Whether the operand has one entry or none along dimension `dim` of a result that has more."""
    shape = coupling.shape(source) or Shape()
    own = dim - (len(out) - len(shape))
    return own < 0 or (shape[own] == 1 and out[dim] != 1)


def _meet_unknown(coupling: Coupling, node: fx.Node, source: fx.Node, axis: ChannelAxis) -> None:
    """Slices a per-channel parameter with the channels that it meets, or freezes them for anything else."""
    shape, out = coupling.shape(source), coupling.shape(node)
    if source.op == "get_attr" and shape is not None and out is not None:
        dim = axis.dim - (len(out) - len(shape))
        coupling.parameters.append(ParameterAxis(str(source.target), dim, axis.spans))
    else:
        coupling.freeze(axis, f"'{node.name}' joins it with channels that no layer is known to produce")


def concatenation(coupling: Coupling, node: fx.Node) -> Value:
    """Lists the channels of the parts one after another; along another dimension it joins them."""
    parts, dim, out = node.args[0], argument(node, 1, "dim", 0), coupling.shape(node)
    if not isinstance(parts, list | tuple) or out is None or not isinstance(dim, int):
        return unknown(coupling, node)
    axes = [coupling.axis(part) for part in parts]
    dims = {axis.dim for axis in axes if axis is not None}
    if len(dims) != 1 or (dim % len(out) not in dims and None in axes):
        return unknown(coupling, node)
    if dim % len(out) in dims:
        return ChannelAxis(dim % len(out), _listed(coupling, node, list(parts), axes))
    for axis in axes[1:]:
        if axes[0] is not None and axis is not None:
            coupling.groups.join(axes[0].spans, axis.spans, f"'{node.name}'")
    return axes[0]


def _listed(coupling: Coupling, node: fx.Node, parts: list[Any], axes: list[ChannelAxis | None]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for part, axis in zip(parts, axes, strict=True):
        shape = coupling.shape(part)
        if axis is not None:
            spans += axis.spans
        elif shape is not None:
            spans.append(coupling.groups.new(shape[1], f"'{node.name}' takes in channels of unknown origin"))
    return tuple(spans)


def reshape(coupling: Coupling, node: fx.Node) -> Value:
    """Follows channels through a change of shape that keeps them apart or flattens all that is behind them."""
    axis, before, after = coupling.axis(node.args[0]), coupling.shape(node.args[0]), coupling.shape(node)
    if axis is None or before is None or after is None:
        return unknown(coupling, node)
    dim = axis.dim
    if before[:dim] == after[:dim] and len(after) > dim and prod(before[dim:]) == prod(after[dim:]):
        if before[dim] == after[dim]:
            result = axis
        elif len(after) == dim + 1:
            inner = prod(before[dim + 1 :])
            spans = tuple(Span(span.group, span.channels, span.repeat * inner) for span in axis.spans)
            result = ChannelAxis(dim, spans)
        else:
            return unknown(coupling, node)
    elif before[dim:] == after[len(after) - (len(before) - dim) :]:
        result = ChannelAxis(len(after) - (len(before) - dim), axis.spans)
    else:
        return unknown(coupling, node)
    if _fixed_size(node, result.dim):
        coupling.freeze(axis, f"'{node.name}' reshapes to a fixed number of channels")
    return result


def _fixed_size(node: fx.Node, dim: int) -> bool:
    """Whether a `view` or `reshape` names the length of that dimension as a number."""
    if operation(node) not in ("view", "reshape"):
        return False
    sizes = node.args[1] if len(node.args) == 2 and isinstance(node.args[1], list | tuple) else node.args[1:]
    size = sizes[dim] if isinstance(sizes, list | tuple) and len(sizes) > dim else None
    return isinstance(size, int) and size != -1


def permutation(coupling: Coupling, node: fx.Node) -> Value:
    """Moves the channel axis with its dimension."""
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node)
    if axis is None or shape is None:
        return unknown(coupling, node)
    order = list(range(len(shape)))
    if operation(node) == "permute":
        given: Any = node.args[1:] if len(node.args) > 2 else argument(node, 1, "dims")
        order = [dim % len(shape) for dim in given]
    else:
        one, other = argument(node, 1, "dim0"), argument(node, 2, "dim1")
        if not isinstance(one, int) or not isinstance(other, int):
            return unknown(coupling, node)
        order[one], order[other] = order[other], order[one]
    return ChannelAxis(order.index(axis.dim), axis.spans)


def reduction(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels where another dimension is reduced."""
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node.args[0])
    given = argument(node, 1, "dim")
    if axis is None or shape is None or given is None:
        return unknown(coupling, node)
    dims = {dim % len(shape) for dim in (given if isinstance(given, list | tuple) else [given])}
    if axis.dim in dims:
        return unknown(coupling, node)
    if argument(node, 2, "keepdim", False):
        return axis
    return ChannelAxis(axis.dim - sum(dim < axis.dim for dim in dims), axis.spans)


def padding(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels where other dimensions are padded."""
    axis, before, after = coupling.axis(node.args[0]), coupling.shape(node.args[0]), coupling.shape(node)
    if axis is None or before is None or after is None:
        return unknown(coupling, node)
    if before[axis.dim] == after[axis.dim]:
        return axis
    return frozen(coupling, axis, after, f"'{node.name}' pads the channels")


def division(coupling: Coupling, node: fx.Node) -> Value:
    """`chunk` and `split`: parts of the channels are frozen, parts of another dimension keep them."""
    axis, shapes = coupling.axis(node.args[0]), coupling.shapes[node]
    shape = coupling.shape(node.args[0])
    dim = argument(node, 2, "dim", 0)
    if axis is None or shape is None or not isinstance(shapes, tuple) or not isinstance(dim, int):
        return unknown(coupling, node)
    if dim % len(shape) != axis.dim:
        return (axis,) * len(shapes)
    reason = f"'{node.name}' divides the channels"
    return tuple(frozen(coupling, axis, part, reason) if isinstance(part, Shape) else None for part in shapes)


def selection(coupling: Coupling, node: fx.Node) -> Value:
    """`x[...]`: an element of a tuple, or slices of a tensor that leave the channels whole."""
    source, index = node.args[0], node.args[1]
    value = coupling.values.get(source) if isinstance(source, fx.Node) else None
    if isinstance(value, tuple) and isinstance(index, int):
        return value[index]
    items = index if isinstance(index, tuple) else (index,)
    after = coupling.shape(node)
    if not isinstance(value, ChannelAxis) or after is None or not all(isinstance(item, slice) for item in items):
        return unknown(coupling, node)
    if len(items) > value.dim and items[value.dim] != slice(None):
        return frozen(coupling, value, after, f"'{node.name}' takes a part of the channels")
    return value


def slicing(coupling: Coupling, node: fx.Node) -> Value:
    """The exported form of `x[:, a:b]`: one dimension cut, which leaves the channels whole where it is another."""
    axis, before, after = coupling.axis(node.args[0]), coupling.shape(node.args[0]), coupling.shape(node)
    if axis is None or before is None or after is None:
        return unknown(coupling, node)
    if before[axis.dim] == after[axis.dim]:
        return axis
    return frozen(coupling, axis, after, f"'{node.name}' takes a part of the channels")
