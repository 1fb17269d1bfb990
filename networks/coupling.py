"""Which channels hang together: one pass over a traced graph that follows the channel axis of every tensor.

Every operation has a rule. Element-wise operations, pooling and batch norms keep channels; additions and gates join
them; concatenation lists them; a flattening makes each one several features. An operation without a rule freezes the
channels that it reads, with its name as the reason, so that an unknown operation costs freedom, never correctness.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import fx, nn

from networks.channels import ChannelAxis, GroupTable, Span
from networks.shapes import Shape, ShapeTree

Value = ChannelAxis | tuple[ChannelAxis | None, ...] | None
"""What is known of a node's output: a channel axis, one per output, or nothing."""

SAME = frozenset(
    "relu relu6 hardswish hardsigmoid hardtanh sigmoid silu mish gelu tanh leaky_relu elu celu selu softplus softsign "
    "logsigmoid threshold rrelu dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout stochastic_depth "
    "drop_block2d clamp clip neg abs exp log sqrt rsqrt pow square reciprocal round floor contiguous clone detach to "
    "float half bfloat16 type_as identity positive".split()
)
POOLING = frozenset(
    "max_pool2d avg_pool2d lp_pool2d adaptive_avg_pool2d adaptive_max_pool2d interpolate upsample max_pool1d avg_pool1d "
    "adaptive_avg_pool1d adaptive_max_pool1d instance_norm".split()
)
BINARY = frozenset("add sub mul div truediv maximum minimum".split())
RESHAPES = frozenset("flatten reshape view squeeze unsqueeze".split())
REDUCTIONS = frozenset("mean sum amax amin prod std var".split())
SAME_MODULES = (
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.SiLU, nn.Mish, nn.GELU, nn.Tanh,
    nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Threshold, nn.RReLU,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity,
)  # fmt: skip
POOLING_MODULES = (
    nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
    nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d,
)  # fmt: skip
PAD_MODULES = (nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d)
PER_CHANNEL_MODULES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.PReLU)


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


def couple(module: fx.GraphModule, shapes: dict[fx.Node, ShapeTree]) -> Coupling:
    """Returns the channel groups of a traced network whose shapes are known."""
    coupling = Coupling(module, shapes)
    called: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "call_module":
            called[node.target] = called.get(node.target, 0) + 1
    for node in module.graph.nodes:
        coupling.values[node] = _visit(coupling, node)
        if node.op == "call_module" and called[node.target] > 1 and any(module.get_submodule(node.target).parameters()):
            reason = f"'{node.target}' is called {called[node.target]} times"
            for touched in (*node.all_input_nodes, node):
                coupling.freeze(coupling.values[touched], reason)
    return coupling


def _visit(coupling: Coupling, node: fx.Node) -> Value:
    if node.op == "placeholder":
        shape = coupling.shape(node)
        channels = shape[1] if shape is not None and len(shape) > 1 else 1
        return ChannelAxis(1, (coupling.groups.new(channels, "the network's input"),))
    if node.op == "output":
        for source in node.all_input_nodes:
            coupling.freeze(coupling.values[source], "the network's output")
        return None
    if node.op == "get_attr" or coupling.shapes.get(node) is None:
        return None  # parameters, and sizes or other plain values
    if node.op == "call_module":
        return _module_rule(coupling.module.get_submodule(str(node.target)))(coupling, node)
    return _function_rule(operation(node))(coupling, node)


def _frozen(coupling: Coupling, axis: ChannelAxis, after: Shape, reason: str) -> ChannelAxis:
    """Freezes an axis and returns a frozen one for what an operation made of it."""
    coupling.freeze(axis, reason)
    return ChannelAxis(axis.dim, (coupling.groups.new(after[axis.dim], reason),))


Rule = Callable[[Coupling, fx.Node], Value]


def operation(node: fx.Node) -> str:
    """Returns the plain name of a function or method: no trailing underscore, `iadd` as `add`."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    name = name.strip("_")
    return name[1:] if name in ("iadd", "isub", "imul", "itruediv") else name


def _module_rule(module: nn.Module) -> Rule:
    for kinds, rule in _MODULE_RULES:
        if isinstance(module, kinds):
            return rule
    return _unknown


def _function_rule(name: str) -> Rule:
    for names, rule in _FUNCTION_RULES:
        if name in names:
            return rule
    return _unknown


def _unknown(coupling: Coupling, node: fx.Node) -> Value:
    name = node.target if node.op == "call_module" else operation(node)
    for source in node.all_input_nodes:
        coupling.freeze(coupling.values[source], f"read by '{name}', which has no coupling rule")
    shape = coupling.shapes[node]
    return None if isinstance(shape, Shape) or shape is None else (None,) * len(shape)


def _same(coupling: Coupling, node: fx.Node) -> Value:
    return coupling.axis(node.args[0] if node.args else node.kwargs.get("input"))


def _pooling(coupling: Coupling, node: fx.Node) -> Value:
    axis, shape = _same(coupling, node), coupling.shape(node)
    if isinstance(axis, ChannelAxis) and axis.dim == 1 and shape is not None:
        return axis
    return _unknown(coupling, node)


def _read(coupling: Coupling, node: fx.Node, dim: int, channels: int) -> tuple[Span, ...]:
    """Returns the spans that a layer reads along `dim`; a new frozen group where the channels are not known there."""
    source = node.args[0]
    axis, shape = coupling.axis(source), coupling.shape(source)
    if axis is not None and shape is not None and axis.dim == dim % len(shape) and axis.length == channels:
        return axis.spans
    coupling.freeze(axis, f"'{node.target}' reads another dimension than the channels")
    return (coupling.groups.new(channels, f"'{node.target}' reads channels that no layer is known to produce"),)


def _conv(coupling: Coupling, node: fx.Node) -> Value:
    conv = coupling.module.get_submodule(str(node.target))
    if not isinstance(conv, nn.Conv2d):
        return _unknown(coupling, node)
    inputs = _read(coupling, node, 1, conv.in_channels)
    if conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1 and len(inputs) == 1:
        output = inputs[0]
    else:
        output = coupling.groups.new(conv.out_channels)
    if conv.groups > 1 and output is not inputs[0]:
        reason = f"grouped convolution '{node.target}' needs equally many channels in every group"
        coupling.groups.freeze((*inputs, output), reason)
    sliced_inputs = inputs if conv.groups == 1 else ()
    _record_layer(coupling, node, LayerChannels(inputs, output), sliced_inputs, conv.bias is not None)
    return ChannelAxis(1, (output,))


def _linear(coupling: Coupling, node: fx.Node) -> Value:
    linear = coupling.module.get_submodule(str(node.target))
    shape = coupling.shape(node)
    if not isinstance(linear, nn.Linear) or shape is None:
        return _unknown(coupling, node)
    inputs, output = _read(coupling, node, -1, linear.in_features), coupling.groups.new(linear.out_features)
    _record_layer(coupling, node, LayerChannels(inputs, output), inputs, linear.bias is not None)
    return ChannelAxis(len(shape) - 1, (output,))


def _record_layer(
    coupling: Coupling, node: fx.Node, layer: LayerChannels, sliced_inputs: tuple[Span, ...], bias: bool
) -> None:
    coupling.layers[node] = layer
    coupling.parameters.append(ParameterAxis(f"{node.target}.weight", 0, (layer.output,)))
    if bias:
        coupling.parameters.append(ParameterAxis(f"{node.target}.bias", 0, (layer.output,)))
    if sliced_inputs:
        coupling.parameters.append(ParameterAxis(f"{node.target}.weight", 1, sliced_inputs))


def _per_channel(coupling: Coupling, node: fx.Node) -> Value:
    axis = coupling.axis(node.args[0])
    if axis is None or axis.dim != 1:
        return _unknown(coupling, node)
    module = coupling.module.get_submodule(str(node.target))
    for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if value.ndim == 1 and len(value) == axis.length:
            coupling.parameters.append(ParameterAxis(f"{node.target}.{name}", 0, axis.spans))
    return axis


def _layer_norm(coupling: Coupling, node: fx.Node) -> Value:
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node.args[0])
    module = coupling.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    normalised = module.normalized_shape if isinstance(module, nn.LayerNorm) else argument(node, 1, "normalized_shape")
    if axis is None or shape is None or not isinstance(normalised, list | tuple):
        return _unknown(coupling, node)
    if axis.dim >= len(shape) - len(normalised):
        coupling.freeze(axis, f"'{node.name}' normalises over the channels")
    return axis


def _group_norm(coupling: Coupling, node: fx.Node) -> Value:
    axis = coupling.axis(node.args[0])
    coupling.freeze(axis, f"'{node.name}' normalises over groups of channels")
    return axis


def _softmax(coupling: Coupling, node: fx.Node) -> Value:
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node)
    module = coupling.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    dim = argument(node, 1, "dim") if module is None else getattr(module, "dim", None)
    if axis is None or shape is None or not isinstance(dim, int) or dim % len(shape) == axis.dim:
        return _unknown(coupling, node)
    return axis


def _binary(coupling: Coupling, node: fx.Node) -> Value:
    """Joins the operands' channels; a parameter that is as long as the channels is sliced with them."""
    out = coupling.shape(node)
    operands = [source for source in (*node.args, *node.kwargs.values()) if coupling.shape(source) is not None]
    if out is None or not operands:
        return _unknown(coupling, node)
    known = [(source, _aligned(coupling, source, len(out))) for source in operands]
    axes = [axis for source, axis in known if axis is not None and not _broadcast(coupling, source, axis.dim, out)]
    if not axes or len({(axis.dim, axis.length) for axis in axes}) > 1:
        return _unknown(coupling, node)
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
    if source.op == "get_attr" and shape is not None and out is not None and len(source.users) == 1:
        dim = axis.dim - (len(out) - len(shape))
        coupling.parameters.append(ParameterAxis(str(source.target), dim, axis.spans))
    else:
        coupling.freeze(axis, f"'{node.name}' joins it with channels that no layer is known to produce")


def _concatenation(coupling: Coupling, node: fx.Node) -> Value:
    parts, dim, out = node.args[0], argument(node, 1, "dim", 0), coupling.shape(node)
    if not isinstance(parts, list | tuple) or out is None or not isinstance(dim, int):
        return _unknown(coupling, node)
    axes = [coupling.axis(part) for part in parts]
    dims = {axis.dim for axis in axes if axis is not None}
    if len(dims) != 1 or (dim % len(out) not in dims and None in axes):
        return _unknown(coupling, node)
    if dim % len(out) in dims:
        return ChannelAxis(dim % len(out), _listed(coupling, node, list(parts), axes))
    for axis in axes[1:]:
        if axes[0] is not None and axis is not None:
            coupling.groups.join(axes[0].spans, axis.spans, f"'{node.name}'")
    return axes[0]


def _listed(
    coupling: Coupling, node: fx.Node, parts: list[Any], axes: list[ChannelAxis | None]
) -> tuple[Span, ...]:
    spans: list[Span] = []
    for part, axis in zip(parts, axes, strict=True):
        shape = coupling.shape(part)
        if axis is not None:
            spans += axis.spans
        elif shape is not None:
            spans.append(coupling.groups.new(shape[1], f"'{node.name}' takes in channels of unknown origin"))
    return tuple(spans)


def _reshape(coupling: Coupling, node: fx.Node) -> Value:
    """Follows channels through a change of shape that keeps them apart or flattens all that is behind them."""
    axis, before, after = coupling.axis(node.args[0]), coupling.shape(node.args[0]), coupling.shape(node)
    if axis is None or before is None or after is None:
        return _unknown(coupling, node)
    dim = axis.dim
    if before[:dim] == after[:dim] and len(after) > dim and prod(before[dim:]) == prod(after[dim:]):
        if before[dim] == after[dim]:
            result = axis
        elif len(after) == dim + 1:
            inner = prod(before[dim + 1 :])
            spans = tuple(Span(span.group, span.channels, span.repeat * inner) for span in axis.spans)
            result = ChannelAxis(dim, spans)
        else:
            return _unknown(coupling, node)
    elif before[dim:] == after[len(after) - (len(before) - dim) :]:
        result = ChannelAxis(len(after) - (len(before) - dim), axis.spans)
    else:
        return _unknown(coupling, node)
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


def _permutation(coupling: Coupling, node: fx.Node) -> Value:
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node)
    if axis is None or shape is None:
        return _unknown(coupling, node)
    order = list(range(len(shape)))
    if operation(node) == "permute":
        given = node.args[1] if isinstance(node.args[1], list | tuple) else node.args[1:]
        order = [int(dim) % len(shape) for dim in given]  # type: ignore[arg-type]
    else:
        one, other = (int(argument(node, place, f"dim{place - 1}")) % len(shape) for place in (1, 2))
        order[one], order[other] = other, one
    return ChannelAxis(order.index(axis.dim), axis.spans)


def _permute_module(coupling: Coupling, node: fx.Node) -> Value:
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node)
    dims = getattr(coupling.module.get_submodule(str(node.target)), "dims", None)
    if axis is None or shape is None or dims is None:
        return _unknown(coupling, node)
    return ChannelAxis([dim % len(shape) for dim in dims].index(axis.dim), axis.spans)


def _reduction(coupling: Coupling, node: fx.Node) -> Value:
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node.args[0])
    given = argument(node, 1, "dim")
    if axis is None or shape is None or given is None:
        return _unknown(coupling, node)
    dims = {dim % len(shape) for dim in (given if isinstance(given, list | tuple) else [given])}
    if axis.dim in dims:
        return _unknown(coupling, node)
    if argument(node, 2, "keepdim", False):
        return axis
    return ChannelAxis(axis.dim - sum(dim < axis.dim for dim in dims), axis.spans)


def _padding(coupling: Coupling, node: fx.Node) -> Value:
    axis, before, after = coupling.axis(node.args[0]), coupling.shape(node.args[0]), coupling.shape(node)
    if axis is None or before is None or after is None:
        return _unknown(coupling, node)
    if before[axis.dim] == after[axis.dim]:
        return axis
    return _frozen(coupling, axis, after, f"'{node.name}' pads the channels")


def _division(coupling: Coupling, node: fx.Node) -> Value:
    """`chunk` and `split`: parts of the channels are frozen, parts of another dimension keep them."""
    axis, shapes = coupling.axis(node.args[0]), coupling.shapes[node]
    shape = coupling.shape(node.args[0])
    dim = argument(node, 2, "dim", 0)
    if axis is None or shape is None or not isinstance(shapes, tuple) or not isinstance(dim, int):
        return _unknown(coupling, node)
    if dim % len(shape) != axis.dim:
        return (axis,) * len(shapes)
    reason = f"'{node.name}' divides the channels"
    return tuple(_frozen(coupling, axis, part, reason) if isinstance(part, Shape) else None for part in shapes)


def _selection(coupling: Coupling, node: fx.Node) -> Value:
    """`x[...]`: an element of a tuple, or slices of a tensor that leave the channels whole."""
    source, index = node.args[0], node.args[1]
    value = coupling.values.get(source) if isinstance(source, fx.Node) else None
    if isinstance(value, tuple) and isinstance(index, int):
        return value[index]
    items = index if isinstance(index, tuple) else (index,)
    after = coupling.shape(node)
    if not isinstance(value, ChannelAxis) or after is None or not all(isinstance(item, slice) for item in items):
        return _unknown(coupling, node)
    if len(items) > value.dim and items[value.dim] != slice(None):
        return _frozen(coupling, value, after, f"'{node.name}' takes a part of the channels")
    return value


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """Returns an argument of a call, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


_MODULE_RULES: tuple[tuple[tuple[type, ...], Rule], ...] = (
    ((nn.Conv2d,), _conv),
    ((nn.Linear,), _linear),
    (PER_CHANNEL_MODULES, _per_channel),
    (SAME_MODULES, _same),
    (POOLING_MODULES, _pooling),
    (PAD_MODULES, _padding),
    ((nn.Flatten,), _reshape),
    ((nn.LayerNorm,), _layer_norm),
    ((nn.GroupNorm,), _group_norm),
    ((nn.Softmax, nn.LogSoftmax), _softmax),
)
_FUNCTION_RULES: tuple[tuple[frozenset[str], Rule], ...] = (
    (SAME, _same),
    (POOLING, _pooling),
    (BINARY, _binary),
    (frozenset(("cat", "concat", "concatenate")), _concatenation),
    (RESHAPES, _reshape),
    (frozenset(("permute", "transpose", "swapaxes")), _permutation),
    (REDUCTIONS, _reduction),
    (frozenset(("pad",)), _padding),
    (frozenset(("chunk", "split", "tensor_split")), _division),
    (frozenset((operator.getitem.__name__,)), _selection),
    (frozenset(("layer_norm",)), _layer_norm),
    (frozenset(("group_norm",)), _group_norm),
    (frozenset(("softmax", "log_softmax")), _softmax),
)
