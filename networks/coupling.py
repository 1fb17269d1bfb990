"""Which channels hang together: one pass over a traced graph that follows the channel axis of every tensor.

Every operation has a rule. Element-wise operations, pooling and batch norms keep channels; additions and gates join
them; concatenation lists them; a flattening makes each one several features. An operation without a rule freezes the
channels that it reads, with its name as the reason, so that an unknown operation costs freedom, never correctness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from torch import fx, nn

from networks import layer_rules, tensor_rules
from networks.channels import ChannelAxis
from networks.flow import Coupling, Value, operation, unknown
from networks.shapes import ShapeTree

SAME = (
    "relu", "relu6", "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "silu", "mish", "gelu", "tanh",
    "leaky_relu", "elu", "celu", "selu", "softplus", "softsign", "logsigmoid", "threshold", "rrelu", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "stochastic_depth",
    "drop_block2d", "clamp", "clip", "neg", "abs", "exp", "log", "sqrt", "rsqrt", "pow", "square", "reciprocal",
    "round", "floor", "contiguous", "clone", "detach", "to", "float", "half", "bfloat16", "type_as", "identity",
    "positive", "alias",
)  # fmt: skip
POOLING = (
    "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "interpolate", "upsample",
    "upsample_nearest2d", "upsample_bilinear2d",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "truediv", "maximum", "minimum")
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


Rule = Callable[[Coupling, fx.Node], Value]


_MODULE_RULES: tuple[tuple[tuple[type, ...], Rule], ...] = (
    ((nn.Conv2d,), layer_rules.conv),
    ((nn.Linear,), layer_rules.linear),
    (PER_CHANNEL_MODULES, layer_rules.per_channel),
    (SAME_MODULES, tensor_rules.same),
    (POOLING_MODULES, tensor_rules.pooling),
    (PAD_MODULES, tensor_rules.padding),
    ((nn.Flatten,), tensor_rules.reshape),
    ((nn.LayerNorm,), layer_rules.layer_norm),
    ((nn.GroupNorm,), layer_rules.group_norm),
    ((nn.Softmax, nn.LogSoftmax), layer_rules.softmax),
)
_FUNCTION_RULES: dict[str, Rule] = {
    name: rule
    for names, rule in (
        (SAME, tensor_rules.same),
        (POOLING, tensor_rules.pooling),
        (BINARY, tensor_rules.binary),
        (("cat", "concat", "concatenate"), tensor_rules.concatenation),
        (("flatten", "reshape", "view", "squeeze", "unsqueeze"), tensor_rules.reshape),
        (("permute", "transpose", "swapaxes"), tensor_rules.permutation),
        (("mean", "sum", "amax", "amin", "prod"), tensor_rules.reduction),
        (("pad", "constant_pad_nd"), tensor_rules.padding),
        (("chunk", "split", "tensor_split", "split_with_sizes"), tensor_rules.division),
        (("getitem",), tensor_rules.selection),
        (("slice",), tensor_rules.slicing),
        (("layer_norm",), layer_rules.layer_norm),
        (("group_norm",), layer_rules.group_norm),
        (("softmax", "log_softmax"), layer_rules.softmax),
    )
    for name in names
}


def couple(module: fx.GraphModule, shapes: dict[fx.Node, ShapeTree]) -> Coupling:
    """Returns the channel groups of a traced network whose shapes are known."""
    coupling = Coupling(module, shapes)
    for node in module.graph.nodes:
        coupling.values[node] = _visit(coupling, node)
    _freeze_shared(coupling)
    return coupling


def parameter_uses(module: fx.GraphModule) -> Counter[int]:
    """Returns how often a graph uses every tensor, by its `id`: in calls of modules, and by name."""
    uses: Counter[int] = Counter()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            uses[id(_attribute(module, str(node.target)))] += len(node.users)
        elif node.op == "call_module":
            uses.update(id(tensor) for tensor in module.get_submodule(str(node.target)).parameters())
    return uses


def _freeze_shared(coupling: Coupling) -> None:
    """Freezes the channels of every tensor that is used more than once, under whatever names."""
    uses = parameter_uses(coupling.module)
    for axis in coupling.parameters:
        count = uses[id(_attribute(coupling.module, axis.path))]
        if count > 1:
            coupling.groups.freeze(axis.spans, f"'{axis.path}' is used {count} times")


def _attribute(module: nn.Module, path: str) -> object:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


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
    return _FUNCTION_RULES.get(operation(node), unknown)(coupling, node)


def _module_rule(module: nn.Module) -> Rule:
    for kinds, rule in _MODULE_RULES:
        if isinstance(module, kinds):
            return rule
    return unknown
