"""How layers and normalisations treat the channels that they read."""

from __future__ import annotations

from torch import fx, nn

from networks.channels import ChannelAxis, Span
from networks.flow import Coupling, LayerChannels, ParameterAxis, Value, argument, unknown


def _read(coupling: Coupling, node: fx.Node, dim: int, channels: int) -> tuple[Span, ...]:
    """Returns the spans that a layer reads along `dim`; a new frozen group where the channels are not known there."""
    source = node.args[0]
    axis, shape = coupling.axis(source), coupling.shape(source)
    if axis is not None and shape is not None and axis.dim == dim % len(shape) and axis.length == channels:
        return axis.spans
    coupling.freeze(axis, f"'{node.target}' reads another dimension than the channels")
    return (coupling.groups.new(channels, f"'{node.target}' reads channels that no layer is known to produce"),)


def conv(coupling: Coupling, node: fx.Node) -> Value:
    """Ends the input channels and starts new ones; depthwise keeps them, grouped freezes both."""
    module = coupling.module.get_submodule(str(node.target))
    if not isinstance(module, nn.Conv2d):
        return unknown(coupling, node)
    inputs = _read(coupling, node, 1, module.in_channels)
    if module.groups == module.in_channels == module.out_channels and module.groups > 1 and len(inputs) == 1:
        output = inputs[0]
    else:
        output = coupling.groups.new(module.out_channels)
    if module.groups > 1 and output is not inputs[0]:
        reason = f"grouped convolution '{node.target}' needs equally many channels in every group"
        coupling.groups.freeze((*inputs, output), reason)
    sliced_inputs = inputs if module.groups == 1 else ()
    _record_layer(coupling, node, LayerChannels(inputs, output), sliced_inputs, module.bias is not None)
    return ChannelAxis(1, (output,))


def linear(coupling: Coupling, node: fx.Node) -> Value:
    """Ends the input features, the last dimension, and starts new ones."""
    module = coupling.module.get_submodule(str(node.target))
    shape = coupling.shape(node)
    if not isinstance(module, nn.Linear) or shape is None:
        return unknown(coupling, node)
    inputs, output = _read(coupling, node, -1, module.in_features), coupling.groups.new(module.out_features)
    _record_layer(coupling, node, LayerChannels(inputs, output), inputs, module.bias is not None)
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


def per_channel(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels and slices every parameter and statistic that is as long as they are."""
    axis = coupling.axis(node.args[0])
    if axis is None or axis.dim != 1:
        return unknown(coupling, node)
    module = coupling.module.get_submodule(str(node.target))
    for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if value.ndim == 1 and len(value) == axis.length:
            coupling.parameters.append(ParameterAxis(f"{node.target}.{name}", 0, axis.spans))
    return axis


def layer_norm(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels; freezes them where the mean runs over them."""
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node.args[0])
    module = coupling.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    normalised = module.normalized_shape if isinstance(module, nn.LayerNorm) else argument(node, 1, "normalized_shape")
    if axis is None or shape is None or not isinstance(normalised, list | tuple):
        return unknown(coupling, node)
    if axis.dim >= len(shape) - len(normalised):
        coupling.freeze(axis, f"'{node.name}' normalises over the channels")
    return axis


def group_norm(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps and freezes the channels."""
    axis = coupling.axis(node.args[0])
    coupling.freeze(axis, f"'{node.name}' normalises over groups of channels")
    return axis


def softmax(coupling: Coupling, node: fx.Node) -> Value:
    """Keeps the channels; freezes them where the sum runs over them."""
    axis, shape = coupling.axis(node.args[0]), coupling.shape(node)
    module = coupling.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    dim = argument(node, 1, "dim") if module is None else getattr(module, "dim", None)
    if axis is None or shape is None or not isinstance(dim, int) or dim % len(shape) == axis.dim:
        return unknown(coupling, node)
    return axis
