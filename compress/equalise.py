"""Cross-layer equalisation: channels of a tensor scaled against each other, in front of everything that rounds them.

Channel i of a tensor is divided by s_i where it is written and multiplied by s_i in the weights that read it; between
the two lie only functions f with f(x / s) = f(x) / s for s > 0, so that the network computes what it did (Nagel et al.
2019, arXiv 1906.04721, section 4.1). A ReLU6 becomes a ReLU and a clip at 6 / s_i, a buffer of the network.

s_i = (1 / r2_i) * sqrt(r1_i * r2_i) = sqrt(r1_i / r2_i) is their equation 11. r2_i is the largest magnitude of the
weights that read the channel, as a share of the largest of all channels; of several readers, the largest share. r1_i is
the same of what is divided, the larger of two shares: of the weights that write the channel (as there; not where a
batch norm does, which is not rounded), and of the channel itself on the calibration images (as in SmoothQuant with
alpha = 0.5, Xiao et al. 2023, arXiv 2211.10438, equation 4). Both sides become sqrt(r1_i * r2_i), which is at most 1:
no range of weights or of the tensor grows. With ranges of weights alone, and with those of activations alone, repaired
8-bit weights with one scale per tensor did worse on MobileNetV2 than without equalisation.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from compress.device import device_of
from compress.modules import WeightLayer, weight_layer
from networks.coupling import parameter_uses
from networks.flow import argument, operation
from networks.trace import ChannelSlice, TracedNetwork
from plan.errors import UnsupportedNetworkError
from plan.layer import InputSegment

BATCH = 32
SWEEPS, CONVERGED = 50, 0.01
"""Passes over all tensors, at most, and the largest logarithm of a factor at which they stop."""
SMALLEST_SHARE = 1e-6
"""A channel with less of a range than this is as good as dead and left alone."""
HOMOGENEOUS_MODULES = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity, nn.ZeroPad2d,
)  # fmt: skip
HOMOGENEOUS = (
    "relu", "leaky_relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "amax",
    "flatten", "squeeze", "contiguous", "clone", "detach", "alias", "identity", "dropout", "dropout2d",
    "stochastic_depth",
)  # fmt: skip
"""Functions f of one tensor with f(x / s) = f(x) / s; what they do to the order of channels, `_reads` finds out."""
Writer = nn.Conv2d | nn.Linear | nn.BatchNorm2d


@dataclass(frozen=True)
class Clip:
    """A ReLU6, or a Hardtanh from 0, that limits a tensor's channels.

    node: its name in the graph
    top: where it clips
    shape: of one value per channel against the tensor
    """

    node: str
    top: float
    shape: tuple[int, ...]

    @property
    def path(self) -> str:
        """The buffer that holds where every channel is clipped once the channels are scaled."""
        return f"{self.node}_top"


@dataclass(frozen=True)
class Pair:
    """A tensor whose channels may be scaled: who writes it, and all that read it.

    writer: path of the layer or batch norm whose outputs it holds, before functions that let scales through
    segments: the groups of its channels
    readers: paths of the layers that read it
    clips: between the two
    """

    writer: str
    segments: tuple[InputSegment, ...]
    readers: tuple[str, ...]
    clips: tuple[Clip, ...]

    @property
    def channels(self) -> int:
        """Number of channels of the tensor."""
        return sum(part.channels for part in self.segments)


def equalised(traced: TracedNetwork, images: Tensor) -> TracedNetwork:
    """Returns a copy of the network with equalised channels, which computes the same but for float rounding.

    The weights between two tensors are scaled by both, so all tensors are gone through until nothing changes.

    Args:
        traced: the network
        images: calibration images, float32 (N, 3, H, W), normalised

    Raises:
        UnsupportedNetworkError: no tensor whose channels may be scaled.
    """
    found = pairs(traced)
    if not found:
        raise UnsupportedNetworkError(
            f"network '{traced.network.name}' has no tensor to equalise (needed: a layer or batch norm writes it, then "
            "come only ReLUs, clips and pooling, then only layers that read it); leave equalisation out"
        )
    ranges = _tensor_ranges(traced, found, images)
    result = with_channel_clips(traced)
    with torch.no_grad():
        for _ in range(SWEEPS):
            if max([_equalise(result.module, pair, ranges) for pair in reversed(found)]) < CONVERGED:
                break
    return result


def with_channel_clips(traced: TracedNetwork) -> TracedNetwork:
    """Returns a copy of the network whose clips between pairs have a limit per channel; it computes the same."""
    module = copy.deepcopy(traced.module)
    nodes = {node.name: node for node in module.graph.nodes}
    renamed: dict[str, str] = {}
    slices = list(traced.slices)
    for pair in pairs(traced):
        for clip in pair.clips:
            module.register_buffer(clip.path, torch.full(clip.shape, clip.top, device=device_of(module)))
            renamed[clip.node] = _replace(module.graph, nodes[clip.node], clip.path)
            slices.append(ChannelSlice(clip.path, 0, pair.segments))
    module.recompile()
    tensors = {tensor: renamed.get(node, node) for tensor, node in traced.tensor_nodes.items()}
    return replace(traced, module=module, tensor_nodes=tensors, slices=tuple(slices))


def _replace(graph: fx.Graph, node: fx.Node, path: str) -> str:
    """Puts a ReLU and a minimum in the place of a node; returns the minimum's name."""
    with graph.inserting_before(node):
        rectified = graph.call_function(functional.relu, (node.args[0],))
        limited = graph.call_function(torch.minimum, (rectified, graph.get_attr(path)))
    node.replace_all_uses_with(limited)
    graph.erase_node(node)
    return limited.name


def pairs(traced: TracedNetwork) -> tuple[Pair, ...]:
    """Returns the tensors whose channels may be scaled, in the order in which they are written.

    Their writer is a layer, or a batch norm with weights of its own; no addition, concatenation, gate or output of the
    network reads them; writer and readers are called once and share their weights with nothing.
    """
    search = _Search(traced)
    calls = (node for node in traced.module.graph.nodes if node.op == "call_module")
    return tuple(pair for pair in map(search.pair, calls) if pair is not None)


class _Search:
    """What one look for pairs knows of a network."""

    def __init__(self, traced: TracedNetwork) -> None:
        self.module = traced.module
        self.layers = dict(zip(traced.layer_targets, traced.network.layers, strict=True))
        self.segments = {part.path: part.segments for part in traced.slices if part.dim == 0}
        self.calls = Counter(str(node.target) for node in traced.module.graph.nodes if node.op == "call_module")
        self.uses = parameter_uses(traced.module)

    def pair(self, node: fx.Node) -> Pair | None:
        """Returns the pair whose tensor a call of a module writes, None where there is none."""
        path = str(node.target)
        writer, segments = self.module.get_submodule(path), self.segments.get(f"{path}.weight")
        if segments is None or not isinstance(writer, Writer) or not self._own(path):
            return None
        met = self._met(node)
        if met is None or not met[0] or not all(self._reads(reader, segments) for reader in met[0]):
            return None
        shape = (len(writer.weight),) if isinstance(writer, nn.Linear) else (len(writer.weight), 1, 1)
        return Pair(path, segments, met[0], tuple(Clip(clip.name, self._top(clip), shape) for clip in met[1]))

    def _met(self, writer: fx.Node) -> tuple[tuple[str, ...], tuple[fx.Node, ...]] | None:
        """Returns the layers that read what a node writes and the clips before them, None where anything else does."""
        readers, clips, waiting = [], [], list(writer.users)
        while waiting:
            user = waiting.pop(0)
            if user.op == "call_module" and str(user.target) in self.layers:
                readers.append(str(user.target))
                continue
            if user.args[:1] == (writer,) and self._top(user) > 0:
                clips.append(user)
            elif not self._homogeneous(user):
                return None
            waiting += user.users
        return tuple(readers), tuple(clips)

    def _own(self, path: str) -> bool:
        """Returns whether a module is called once and its parameters serve nothing else."""
        parameters = self.module.get_submodule(path).parameters(recurse=False)
        return self.calls[path] == 1 and all(self.uses[id(tensor)] == 1 for tensor in parameters)

    def _reads(self, reader: str, segments: Sequence[InputSegment]) -> bool:
        """Returns whether a layer's input channels are those of the segments, in the same order."""
        layer = self.layers[reader]
        channels = [(part.group, part.channels) for part in layer.inputs]
        whole = layer.groups == 1 or layer.depthwise
        repeats = {part.repeat for part in layer.inputs}
        same = channels == [(part.group, part.channels) for part in segments] and len(repeats) == 1
        return whole and same and self._own(reader)

    def _top(self, node: fx.Node) -> float:
        """Returns where a node clips from above what it also clips at 0, 0.0 where it does no such thing."""
        if node.op == "call_module":
            part = self.module.get_submodule(str(node.target))
            low, high = (part.min_val, part.max_val) if isinstance(part, nn.Hardtanh) else (0.0, 0.0)
        elif operation(node) == "hardtanh":
            low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
        else:
            low, high = 0.0, 6.0 if operation(node) == "relu6" else 0.0
        return float(high) if low == 0 else 0.0

    def _homogeneous(self, node: fx.Node) -> bool:
        """Returns whether f(x / s) = f(x) / s for what a node computes of its only input, channel by channel."""
        if node.op == "call_module":
            return isinstance(self.module.get_submodule(str(node.target)), HOMOGENEOUS_MODULES)
        return node.op in ("call_function", "call_method") and operation(node) in HOMOGENEOUS


@contextmanager
def _watched(module: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Holds hooks that note the largest magnitude of every input channel or feature of layers, by path."""
    found: dict[str, Tensor] = {}

    def watch(path: str) -> RemovableHandle:
        def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].movedim(1, -1) if isinstance(layer, nn.Conv2d) else inputs[0]
            largest = values.abs().flatten(0, -2).amax(0)
            found[path] = torch.maximum(found.get(path, largest), largest)

        return module.get_submodule(path).register_forward_pre_hook(note)

    hooks = [watch(path) for path in paths]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _tensor_ranges(traced: TracedNetwork, found: Sequence[Pair], images: Tensor) -> dict[str, Tensor]:
    """Returns the largest magnitude of every channel of the pairs' tensors, (channels,) by writer."""
    readers = [reader for pair in found for reader in pair.readers]
    with _watched(traced.module, readers) as seen, torch.no_grad():
        for batch in torch.split(images, BATCH):
            traced.module(batch.to(device_of(traced.module)))
    return {pair.writer: _per_channel(seen, pair) for pair in found}


def _weight_shares(module: nn.Module, pair: Pair) -> Tensor:
    """Returns the shares of the weights that read each channel, the largest of all readers, (channels,)."""
    entries = {}
    for reader in pair.readers:
        layer = weight_layer(module, reader)
        entries[reader] = shares(layer.weight.abs().movedim(_input_dim(layer), 0).flatten(1).amax(1))
    return _per_channel(entries, pair)


def _per_channel(entries: Mapping[str, Tensor], pair: Pair) -> Tensor:
    """Returns the largest of what stands for the input channels or features of a pair's readers, (channels,)."""
    parts = [entries[reader].reshape(pair.channels, -1) for reader in pair.readers]
    return torch.cat(parts, 1).amax(1)


def _input_dim(layer: WeightLayer) -> int:
    """Returns the dimension of a layer's weights along which its input channels lie."""
    return 0 if isinstance(layer, nn.Conv2d) and layer.groups > 1 else 1


def shares(ranges: Tensor) -> Tensor:
    """Returns ranges (channels,) divided by the largest of them, all 0 where they are 0."""
    return ranges / ranges.max().clamp_min(torch.finfo(ranges.dtype).tiny)


def factors(first: Tensor, second: Tensor) -> Tensor:
    """Returns s (channels,), by which channels are divided; 1 where either share is next to nothing.

    Args:
        first: shares of what is divided, (channels,)
        second: shares of the weights that are multiplied, (channels,)
    """
    live = (first > SMALLEST_SHARE) & (second > SMALLEST_SHARE)
    return torch.where(live, (first / second).sqrt(), torch.ones_like(first))


def _equalise(module: nn.Module, pair: Pair, ranges: dict[str, Tensor]) -> float:
    """Scales one tensor's channels in the module, and their ranges; returns the largest logarithm of a factor."""
    writer = module.get_submodule(pair.writer)
    first = shares(ranges[pair.writer])
    if isinstance(writer, nn.Conv2d | nn.Linear):
        first = torch.maximum(first, shares(writer.weight.abs().flatten(1).amax(1)))
    scale = factors(first, _weight_shares(module, pair))
    for values in writer.parameters(recurse=False):
        values.div_(_along(0, scale, values))
    for clip in pair.clips:
        module.get_buffer(clip.path).div_(scale.reshape(clip.shape))
    for reader in pair.readers:
        layer = weight_layer(module, reader)
        dim = _input_dim(layer)
        features = layer.weight.shape[dim] // pair.channels
        layer.weight.mul_(_along(dim, scale.repeat_interleave(features), layer.weight))
    ranges[pair.writer] = ranges[pair.writer] / scale
    return float(scale.log().abs().max())


def _along(dim: int, values: Tensor, other: Tensor) -> Tensor:
    """Returns values (n,) in a shape that lies along one dimension of another tensor."""
    return values.reshape([-1 if own == dim else 1 for own in range(other.ndim)])
