"""Channel groups of small networks, checked by hand; removal by the slices of a trace, on any wiring."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from networks.trace import ChannelSlice, TracedNetwork, channel_slices, trace
from networks.zoo import build
from plan.layer import ChannelGroup, InputSegment


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.outer = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        x = functional.relu(self.bn(self.stem(x)))
        y = x + self.outer(functional.relu(self.inner(x)))
        return self.head(functional.adaptive_avg_pool2d(y, 1).flatten(1))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(10)
        self.last = nn.Conv2d(10, 8, 3)
        self.head = nn.Linear(8 * 2 * 2, 5)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(torch.cat([self.left(x), self.right(x)], dim=1)).relu()
        return self.head(functional.max_pool2d(self.last(y), 3).flatten(1))


class Gated(nn.Module):
    """An expansion, a depthwise layer, a squeeze-and-excitation gate, a scale per channel and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.project = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        y = functional.relu6(self.depthwise(functional.relu6(self.expand(x))))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return self.head(self.project(y * gate * self.scale).mean((2, 3)))


class Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.branch = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        kept, changed = self.stem(x).chunk(2, dim=1)
        y = torch.cat([kept, self.branch(changed)], 1)
        count, channels, height, width = y.shape
        y = y.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(count, channels, height, width)
        return self.head(y.mean((2, 3)))


class ChannelsLast(nn.Module):
    """A linear layer on (N, H, W, C) behind a layer norm, as ConvNeXt has it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.norm = nn.LayerNorm(8)
        self.wide = nn.Linear(8, 12)
        self.narrow = nn.Linear(12, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        y = self.stem(x).permute(0, 2, 3, 1)
        y = self.narrow(functional.gelu(self.wide(self.norm(y)))).permute(0, 3, 1, 2)
        return self.head(y.mean((2, 3)))


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.middle = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.middle(torch.cumsum(self.stem(x), dim=1)).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.grouped(self.stem(x)).mean((2, 3)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.shared = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.shared(self.shared(self.stem(x))).mean((2, 3)))


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.last = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        y = functional.relu(input=self.stem(input=x))
        y = self.last(torch.cat(tensors=[y, y], dim=1)).permute(dims=(0, 2, 3, 1)).transpose(-1, 1)
        return self.head(input=torch.mean(input=y, dim=(2, 3)))


class Tied(nn.Module):
    """One scale for two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.last = nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head((self.last(self.stem(x) * self.scale) * self.scale).mean((2, 3)))


def traced(kind: type[nn.Module]) -> TracedNetwork:
    torch.manual_seed(0)
    return trace(kind(), (3, 8, 8), kind.__name__)


def group_of(result: TracedNetwork, name: str) -> ChannelGroup:
    layer = next(layer for layer in result.network.layers if layer.name == name)
    return result.network.groups[layer.output_group]


def names(result: TracedNetwork, indices: tuple[int, ...]) -> list[str]:
    return [result.network.layers[index].name for index in indices]


def test_residual_add_joins_both_producers() -> None:
    result = traced(Residual)
    group = group_of(result, "stem")
    assert names(result, group.producers) == ["stem", "outer"]
    assert names(result, group.consumers) == ["inner", "head"]
    assert group.prunable
    assert group.channels == 8
    assert group_of(result, "inner").producers == (1,)
    assert result.network.edges == ((0, 1), (0, 3), (1, 2), (2, 3))


def test_residual_readers_share_the_tensor_and_writers_reach_the_first() -> None:
    stem, inner, outer, head = traced(Residual).network.layers
    assert stem.output_tensor == inner.input_tensor
    assert inner.output_tensor == outer.input_tensor
    assert outer.output_tensor == head.input_tensor
    assert head.output_tensor is None


def test_network_input_and_output_are_frozen() -> None:
    result = traced(Residual)
    assert result.network.groups[result.network.layers[0].inputs[0].group].frozen == "the network's input"
    assert group_of(result, "head").frozen == "the network's output"


def test_concatenation_lists_segments_and_flatten_repeats() -> None:
    result = traced(Concat)
    left, right, last, head = result.network.layers
    assert last.inputs == (InputSegment(left.output_group, 4), InputSegment(right.output_group, 6))
    assert head.inputs == (InputSegment(last.output_group, 8, repeat=4),)
    assert (head.C, head.P, head.Q) == (32, 1, 1)
    norm = [axis for axis in channel_slices(result) if axis.path == "norm.running_var"]
    assert norm == [ChannelSlice("norm.running_var", 0, last.inputs)]


def test_depthwise_and_gate_share_one_group() -> None:
    result = traced(Gated)
    group = group_of(result, "expand")
    assert names(result, group.producers) == ["expand", "depthwise", "excite"]
    assert names(result, group.consumers) == ["depthwise", "squeeze", "project"]
    assert group.prunable
    assert ChannelSlice("scale", 0, result.network.layers[1].inputs) in channel_slices(result)
    depthwise = [axis.dim for axis in channel_slices(result) if axis.path == "depthwise.weight"]
    assert depthwise == [0]


def test_depthwise_writes_the_map_not_the_squeezed_values() -> None:
    result = traced(Gated)
    layers = {layer.name: layer for layer in result.network.layers}
    assert layers["depthwise"].output_tensor == layers["project"].input_tensor
    assert layers["depthwise"].output_tensor != layers["squeeze"].input_tensor


@dataclass(frozen=True)
class Frozen:
    kind: type[nn.Module]
    layer: str
    reason: str


@pytest.mark.parametrize(
    "case",
    [
        Frozen(Shuffle, "stem", "divides the channels"),
        Frozen(Shuffle, "branch", "mixes the channels"),
        Frozen(ChannelsLast, "stem", "normalises over the channels"),
        Frozen(Unknown, "stem", "'cumsum' mixes the channels or has no coupling rule"),
        Frozen(Grouped, "stem", "grouped convolution"),
        Frozen(Grouped, "grouped", "grouped convolution"),
        Frozen(Twice, "stem", "'shared.weight' is used 2 times"),
        Frozen(Tied, "stem", "'scale' is used 2 times"),
    ],
    ids=lambda case: f"{case.kind.__name__}-{case.layer}",
)
def test_frozen_with_reason(case: Frozen) -> None:
    assert case.reason in group_of(traced(case.kind), case.layer).frozen


def test_linear_on_channels_last_counts_positions() -> None:
    result = traced(ChannelsLast)
    wide = result.network.layers[1]
    assert (wide.K, wide.C, wide.P, wide.Q) == (12, 8, 4, 4)
    assert group_of(result, "wide").prunable
    assert group_of(result, "narrow").prunable


def test_shared_layer_is_one_layer_with_the_sum_of_its_calls() -> None:
    result = traced(Twice)
    shared = result.network.layers[1]
    assert shared.P * shared.Q == 4 * 4 + 2 * 2
    assert result.network.notes == ("layer 'shared' is called 2 times",)


def kept_entries(segments: tuple[InputSegment, ...], kept: dict[int, np.ndarray]) -> np.ndarray:
    entries, start = [], 0
    for segment in segments:
        chosen = kept.get(segment.group, np.arange(segment.channels))
        entries.append(start + (chosen[:, None] * segment.repeat + np.arange(segment.repeat)).ravel())
        start += segment.channels * segment.repeat
    return np.concatenate(entries)


def remove(result: TracedNetwork, kept: dict[int, np.ndarray], *, shrink: bool) -> None:
    """Shrinks every parameter along its channels, or zeroes what the removed channels contribute."""
    for axis in channel_slices(result):
        owner, _, name = axis.path.rpartition(".")
        module = result.module.get_submodule(owner)
        tensor = getattr(module, name)
        entries = torch.from_numpy(kept_entries(axis.segments, kept))
        if shrink:
            changed = tensor.detach().index_select(axis.dim, entries)
            setattr(module, name, nn.Parameter(changed) if isinstance(tensor, nn.Parameter) else changed)
        elif axis.dim == 1:
            gone = torch.ones(tensor.shape[1], dtype=torch.bool)
            gone[entries] = False
            tensor.data[:, gone] = 0
        if shrink and isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels:
            module.groups = module.in_channels = module.out_channels = len(entries)


def check_removal(make: Callable[[], nn.Module], input_shape: tuple[int, int, int]) -> int:
    """Halves every free group, physically and by masking, compares the outputs, and returns how many there were."""
    rng = np.random.default_rng(0)
    masked, smaller = (trace(make(), input_shape, "network") for _ in range(2))
    kept = {
        index: np.sort(rng.permutation(group.channels)[: max(group.channels // 2, 1)])
        for index, group in enumerate(masked.network.groups)
        if group.prunable
    }
    remove(masked, kept, shrink=False)
    remove(smaller, kept, shrink=True)
    images = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = masked.module(images)
        scale = float(expected.abs().max())
        torch.testing.assert_close(smaller.module(images), expected, rtol=0, atol=1e-5 * scale)
    return len(kept)


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Returns a maker of the same network with lively batch norms each time."""

    def lively() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = make()
            for layer in module.modules():
                if (
                    isinstance(layer, nn.BatchNorm2d)
                    and layer.running_mean is not None
                    and layer.running_var is not None
                ):
                    nn.init.normal_(layer.running_mean, std=0.1)
                    nn.init.uniform_(layer.running_var, 0.5, 1.5)
                    nn.init.uniform_(layer.weight, 0.5, 1.5)
                    nn.init.normal_(layer.bias, std=0.1)
        return module

    return lively


@pytest.mark.parametrize("kind", [Residual, Concat, Gated, ChannelsLast, Keywords], ids=lambda kind: kind.__name__)
def test_removed_channels_equal_masked_ones(kind: type[nn.Module]) -> None:
    assert check_removal(seeded(kind), (3, 8, 8)) > 0


ISSUED = (
    "resnet18 resnet50 vgg16 mobilenet_v2 mobilenet_v3_small squeezenet1_1 densenet121 efficientnet_b0 "
    "shufflenet_v2_x0_5 googlenet convnext_tiny regnet_y_400mf"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ISSUED.split())
def test_removed_channels_equal_masked_ones_in_torchvision(name: str) -> None:
    source = build(name, 10, (3, 64, 64))
    assert check_removal(seeded(lambda: copy.deepcopy(source.module)), source.input_size) > 0


class Wired(nn.Module):
    """A random chain of blocks; each word of `blocks` is one."""

    def __init__(self, blocks: list[str], flatten: bool) -> None:
        super().__init__()
        self.blocks, self.flatten, channels = blocks, flatten, 6
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for kind in blocks:
            outputs = channels + 4 if kind in ("wider", "concat") else channels
            groups = channels if kind == "depthwise" else 1
            new = 4 if kind == "concat" else outputs
            self.convolutions.append(nn.Conv2d(channels, new, 3, padding=1, groups=groups))
            self.norms.append(nn.BatchNorm2d(outputs))
            channels = outputs
        self.head = nn.Linear(channels * (16 if flatten else 1), 5)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        for kind, convolution, norm in zip(self.blocks, self.convolutions, self.norms, strict=True):
            y = convolution(x)
            if kind == "residual":
                y = y + x
            elif kind == "concat":
                y = torch.cat([x, y], dim=1)
            elif kind == "gate":
                y = x * torch.sigmoid(functional.adaptive_avg_pool2d(y, 1))
            x = functional.relu(norm(y))
        x = functional.avg_pool2d(x, 2)
        return self.head(x.flatten(1) if self.flatten else x.mean((2, 3)))


@settings(max_examples=15)
@given(
    blocks=st.lists(st.sampled_from(["wider", "depthwise", "residual", "concat", "gate"]), min_size=1, max_size=5),
    flatten=st.booleans(),
)
def test_any_wiring_can_be_pruned(blocks: list[str], flatten: bool) -> None:
    check_removal(seeded(lambda: Wired(blocks, flatten)), (3, 8, 8))
