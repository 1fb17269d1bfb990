"""From a torch module to `plan.Network`: layers in execution order, their tensors, edges and channel groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import torch
from torch import fx, nn

from networks.coupling import BINARY, PAD_MODULES, couple
from networks.flow import Coupling, operation
from networks.lifting import lift
from networks.program_graph import plain_graph
from networks.shapes import BATCH, Shape, shapes_of
from plan.errors import UnsupportedNetworkError
from plan.layer import ChannelGroup, InputSegment, Layer, Network

LOOKED_THROUGH = frozenset(
    ("flatten", "reshape", "view", "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "pad", "dropout")
    + ("constant_pad_nd", "alias")
    + ("dropout2d", "stochastic_depth", "contiguous", "clone", "detach", "identity")
)
"""Operations that change neither the values nor what is stored; a layer behind them reads what is before them."""
LOOKED_THROUGH_MODULES = (nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity, nn.ZeroPad2d)


@dataclass(frozen=True)
class ChannelSlice:
    """Which groups' channels lie along dimension `dim` of the parameter or buffer at a dotted path."""

    path: str
    dim: int
    segments: tuple[InputSegment, ...]


@dataclass(frozen=True)
class TracedNetwork:
    """A network as a graph and in the plan's vocabulary.

    module: evaluation mode, float32, auxiliary heads dropped; shares its weights with the module that was traced
    layer_targets: per plan layer, the path of its nn.Conv2d or nn.Linear
    layer_nodes: per plan layer, the name of the fx node that calls it (the first call of a shared layer)
    tensor_nodes: name of a stored tensor (`Layer.input_tensor`) -> name of the fx node whose output it is
    slices: every parameter dimension that holds channels; see `channel_slices`
    """

    module: fx.GraphModule
    network: Network
    layer_targets: tuple[str, ...]
    layer_nodes: tuple[str, ...]
    tensor_nodes: dict[str, str]
    slices: tuple[ChannelSlice, ...]


def channel_slices(traced: TracedNetwork) -> tuple[ChannelSlice, ...]:
    """Returns every (parameter or buffer, dimension) along which channels of groups lie.

    Removing channels of a group means to keep, along each of these dimensions, only the entries of the kept channels:
    weights of layers (dimension 0 outputs, 1 inputs), biases, batch norms with their statistics, per-channel scales.
    A depthwise layer has dimension 0 alone; its `groups` shrink with it.
    """
    return traced.slices


def trace(module: nn.Module, input_shape: tuple[int, int, int], name: str) -> TracedNetwork:
    """Returns the traced network; the module is put in evaluation mode.

    Args:
        module: takes float32 (N, C, H, W), returns one tensor.
        input_shape: (C, H, W) of one image.
        name: how plans call the network.

    Raises:
        UnsupportedNetworkError: neither torch.fx nor torch.export can trace it, it does not run on such images, or it
            holds no layer.
    """
    graph = _graph(module.eval(), input_shape, name)
    lift(graph)
    _make_positional(graph.graph)
    graph.recompile()
    shapes = shapes_of(graph, input_shape)
    if not isinstance(shapes[next(iter(reversed(graph.graph.nodes)))], Shape):
        raise UnsupportedNetworkError(f"network '{name}' must return one tensor")
    coupling = couple(graph, shapes)
    if not coupling.layers:
        raise UnsupportedNetworkError(f"network '{name}' has no Conv2d or Linear layer to compress")
    return _assemble(coupling, input_shape, name)


def _graph(module: nn.Module, input_shape: tuple[int, int, int], name: str) -> fx.GraphModule:
    """Returns the graph that torch.fx finds, else the one that torch.export finds by running it on zeros."""
    try:
        return fx.symbolic_trace(module)
    except Exception as error:  # tracing runs the user's code
        reason = " ".join(str(error).split())
    try:
        example, batch = torch.zeros(BATCH, *input_shape), {0: torch.export.Dim("batch", min=1)}
        exported = torch.export.export(module, (example,), dynamic_shapes=(batch,))
        return fx.symbolic_trace(plain_graph(exported, name).module)
    except Exception as error:  # here too
        raise UnsupportedNetworkError(
            f"network '{name}' cannot be traced by torch.fx ({reason}) nor by torch.export ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _make_positional(graph: fx.Graph) -> None:
    """Turns `layer(input=x)` and `cat(tensors=...)` into calls whose first argument has no name, as rules expect."""
    for node in graph.nodes:
        for name in ("input", "tensors"):
            if not node.args and name in node.kwargs:
                node.args = (node.kwargs[name],)
                node.kwargs = {key: value for key, value in node.kwargs.items() if key != name}


def _assemble(coupling: Coupling, input_shape: tuple[int, int, int], name: str) -> TracedNetwork:
    calls = _calls(coupling)
    number = _numbered(coupling, calls)
    tensors = {_stored(coupling, node) for nodes in calls.values() for node in nodes}
    layers = tuple(_layer(coupling, target, nodes, number, tensors) for target, nodes in calls.items())
    groups = _groups(coupling, layers, number)
    return TracedNetwork(
        module=coupling.module,
        network=Network(name, input_shape, layers, groups, _edges(calls), _notes(coupling, calls)),
        layer_targets=tuple(calls),
        layer_nodes=tuple(nodes[0].name for nodes in calls.values()),
        tensor_nodes={layer.input_tensor: layer.input_tensor for layer in layers},
        slices=_slices(coupling, number),
    )


Calls = dict[str, list[fx.Node]]
"""Path of a layer -> its calls, in order of first execution."""


def _calls(coupling: Coupling) -> Calls:
    calls: Calls = {}
    for node in coupling.layers:
        calls.setdefault(str(node.target), []).append(node)
    return calls


def _numbered(coupling: Coupling, calls: Calls) -> dict[int, int]:
    """Returns final indices of the groups that layers read or write, in order of execution."""
    number: dict[int, int] = {}
    for nodes in calls.values():
        channels = coupling.layers[nodes[0]]
        for span in (*channels.inputs, channels.output):
            number.setdefault(coupling.groups.root(span.group), len(number))
    return number


def _slices(coupling: Coupling, number: dict[int, int]) -> tuple[ChannelSlice, ...]:
    groups = coupling.groups
    return tuple(
        ChannelSlice(axis.path, axis.dim, groups.segments(axis.spans, number))
        for axis in coupling.parameters
        if all(groups.root(span.group) in number for span in axis.spans)
    )


def _looked_through(coupling: Coupling, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(coupling.module.get_submodule(str(node.target)), LOOKED_THROUGH_MODULES)
    return node.op in ("call_function", "call_method") and operation(node) in LOOKED_THROUGH


def _stored(coupling: Coupling, layer: fx.Node) -> fx.Node:
    """Returns the node whose output is the stored tensor that the layer reads."""
    node = layer.args[0]
    while isinstance(node, fx.Node) and _looked_through(coupling, node) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    if not isinstance(node, fx.Node):
        raise UnsupportedNetworkError(f"layer '{layer.target}' reads something that is no tensor of the graph")
    return node


def _layer(
    coupling: Coupling, target: str, nodes: list[fx.Node], number: dict[int, int], tensors: set[fx.Node]
) -> Layer:
    module = coupling.module.get_submodule(target)
    channels = coupling.layers[nodes[0]]
    p, q = _positions(coupling, nodes)
    conv = isinstance(module, nn.Conv2d)
    kernel = module.kernel_size if isinstance(module, nn.Conv2d) else (1, 1)
    height, width = _input_size(coupling, nodes[0]) if conv else (p, q)
    written = _written(coupling, nodes[0], tensors)
    return Layer(
        name=target,
        op="conv" if conv else "linear",
        K=channels.output.channels,
        C=sum(span.length for span in channels.inputs),
        R=int(kernel[0]),
        S=int(kernel[1]),
        P=p,
        Q=q,
        H=height,
        W=width,
        stride=int(module.stride[0]) if isinstance(module, nn.Conv2d) else 1,
        groups=module.groups if isinstance(module, nn.Conv2d) else 1,
        input_tensor=_stored(coupling, nodes[0]).name,
        output_tensor=None if written is None else written.name,
        inputs=coupling.groups.segments(channels.inputs, number),
        output_group=number[coupling.groups.root(channels.output.group)],
    )


def _positions(coupling: Coupling, nodes: list[fx.Node]) -> tuple[int, int]:
    """Returns (P, Q); for a layer called several times P * Q is the sum over its calls."""
    found = [_one_position(coupling, node) for node in nodes]
    widths = {q for _, q in found}
    if len(widths) == 1:
        return sum(p for p, _ in found), widths.pop()
    return sum(p * q for p, q in found), 1


def _one_position(coupling: Coupling, node: fx.Node) -> tuple[int, int]:
    shape = coupling.shape(node) or Shape((1,))
    if isinstance(coupling.module.get_submodule(str(node.target)), nn.Conv2d):
        return shape[2], shape[3]
    inner = shape[1:-1]
    if not inner:
        return 1, 1
    q = inner[-1] if len(inner) > 1 else 1
    return prod(inner) // q, q


def _input_size(coupling: Coupling, node: fx.Node) -> tuple[int, int]:
    """Returns (H, W) of a convolution's input before any padding in front of it."""
    source = node.args[0]
    while isinstance(source, fx.Node) and _pads(coupling, source):
        source = source.args[0]
    shape = coupling.shape(source) or Shape((1, 1, 1, 1))
    return shape[-2], shape[-1]


def _pads(coupling: Coupling, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(coupling.module.get_submodule(str(node.target)), PAD_MODULES)
    return node.op == "call_function" and operation(node) in ("pad", "constant_pad_nd")


def _written(coupling: Coupling, layer: fx.Node, tensors: set[fx.Node]) -> fx.Node | None:
    """Returns the stored tensor that the layer's output becomes, reached without passing another tensor.

    Of several it is the largest, the first among equals: what a squeeze-and-excitation gate reads is not what a
    convolution writes.
    """
    reached, waiting, seen = set(), [layer], {layer}
    while waiting:
        node = waiting.pop()
        if node in tensors:
            reached.add(node)
            continue
        new = [user for user in node.users if user not in seen]
        seen.update(new)
        waiting += new
    ordered = [node for node in layer.graph.nodes if node in reached]
    return max(ordered, key=lambda node: prod(coupling.shape(node) or (0,)), default=None)


def _edges(calls: Calls) -> tuple[tuple[int, int], ...]:
    """Returns (producer, consumer) pairs of layers with no other layer between them."""
    index = {node: place for place, nodes in enumerate(calls.values()) for node in nodes}
    sources: dict[fx.Node, frozenset[int]] = {}
    edges: set[tuple[int, int]] = set()
    for node in next(iter(index)).graph.nodes:
        feeding = frozenset[int]().union(*(sources[source] for source in node.all_input_nodes))
        if node in index:
            edges.update((producer, index[node]) for producer in feeding)
            feeding = frozenset((index[node],))
        sources[node] = feeding
    return tuple(sorted(edges))


def _groups(coupling: Coupling, layers: tuple[Layer, ...], number: dict[int, int]) -> tuple[ChannelGroup, ...]:
    groups = []
    for root, group in number.items():
        producers = tuple(place for place, layer in enumerate(layers) if layer.output_group == group)
        consumers = tuple(
            place for place, layer in enumerate(layers) if any(segment.group == group for segment in layer.inputs)
        )
        frozen = coupling.groups.frozen(root) or ("" if producers else "no layer produces it")
        name = layers[producers[0]].name if producers else f"input of {layers[consumers[0]].name}"
        groups.append(ChannelGroup(name, coupling.groups.channels(root), producers, consumers, frozen))
    return tuple(groups)


def _notes(coupling: Coupling, calls: Calls) -> tuple[str, ...]:
    """Returns one line per kind of operation with weight matrices that is no layer, and per shared layer."""
    kinds: Counter[str] = Counter()
    for node in coupling.module.graph.nodes:
        if node.op == "call_module" and str(node.target) not in calls:
            module = coupling.module.get_submodule(str(node.target))
            kinds[type(module).__name__] += any(value.ndim > 1 for value in module.parameters())
        elif node.op in ("call_function", "call_method") and operation(node) not in BINARY:
            kinds[operation(node)] += any(_is_matrix(coupling, source) for source in node.all_input_nodes)
    notes = [f"{count} {kind}: dense, full precision, not priced" for kind, count in kinds.items() if count]
    notes += [f"layer '{target}' is called {len(nodes)} times" for target, nodes in calls.items() if len(nodes) > 1]
    return tuple(notes)


def _is_matrix(coupling: Coupling, node: fx.Node) -> bool:
    shape = coupling.shape(node)
    return node.op == "get_attr" and shape is not None and sum(length > 1 for length in shape) > 1
