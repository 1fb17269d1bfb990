"""Every layer of well-known networks traces, and the multiply-accumulates equal an independent count."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from networks.cifar_resnet import cifar_resnet
from networks.cifar_vgg import CifarVgg16
from networks.trace import TracedNetwork, trace
from networks.zoo import build
from plan.errors import UnsupportedNetworkError


def dispatched_macs(module: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates that torch's dispatcher sees for one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *input_shape))
    return int(counter.get_total_flops()) // 2


def weighted_layers(module: nn.Module) -> set[str]:
    return {name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def check(result: TracedNetwork, module: nn.Module, input_shape: tuple[int, int, int]) -> None:
    assert result.network.macs == dispatched_macs(module, input_shape)
    assert set(result.layer_targets) == weighted_layers(module)
    nodes = {node.name for node in result.module.graph.nodes}
    assert set(result.layer_nodes) <= nodes
    assert set(result.tensor_nodes.values()) <= nodes
    tensors = set(result.tensor_nodes)
    for place, layer in enumerate(result.network.layers):
        assert layer.input_tensor in tensors
        assert layer.output_tensor is None or layer.output_tensor in tensors
        assert sum(segment.channels * segment.repeat for segment in layer.inputs) == layer.C
        assert place in result.network.groups[layer.output_group].producers
        assert result.network.groups[layer.output_group].channels == layer.K
    images = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(result.module(images), module(images))


def test_resnet20_layers_and_groups() -> None:
    module = cifar_resnet(20, 10)
    result = trace(module, (3, 32, 32), "resnet20")
    check(result, module.eval(), (3, 32, 32))
    assert len(result.network.layers) == 20
    assert (
        result.network.macs == 442_368 + 14_155_776 + 2 * (1_179_648 + 11_796_480) + 640
    )  # stem, three stages, linear
    frozen = [group for group in result.network.groups if not group.prunable]
    assert sum(group.prunable for group in result.network.groups) == 9
    assert sum("pads the channels" in group.frozen for group in frozen) == 3


def test_vgg16_cifar_is_a_chain() -> None:
    module = CifarVgg16(10)
    result = trace(module, (3, 32, 32), "vgg16_cifar")
    check(result, module.eval(), (3, 32, 32))
    assert result.network.edges == tuple((place, place + 1) for place in range(13))
    assert sum(group.prunable for group in result.network.groups) == 13


SMALL = ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "regnet_y_400mf")
LARGE = ("resnet50", "vgg16", "densenet121", "efficientnet_b0", "googlenet", "convnext_tiny")


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_torchvision_classifier(name: str) -> None:
    source = build(name, 10, (3, 64, 64))
    check(trace(source.module, source.input_size, name), source.module, source.input_size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "maxvit_t"])
def test_transformer_says_what_is_left_dense(name: str) -> None:
    source = build(name, 10, (3, 64, 64))
    result = trace(source.module, source.input_size, name)
    assert result.network.layers
    assert any("dense" in note for note in result.network.notes)


def test_padding_before_a_convolution_is_looked_through() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 5, 3, 2), nn.Flatten())
    first, second = trace(module, (3, 8, 8), "padded").network.layers
    assert (second.H, second.W, second.P, second.Q, second.stride) == (8, 8, 4, 4, 2)
    assert first.output_tensor == second.input_tensor


def test_fingerprint_depends_on_shapes_not_on_weights() -> None:
    first, second = (trace(cifar_resnet(20, 10), (3, 32, 32), "resnet20").network for _ in range(2))
    other = trace(cifar_resnet(20, 11), (3, 32, 32), "resnet20").network
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != other.fingerprint


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        return y, y


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Branching(), "cannot be traced"),
        (Pair(), "must return one tensor"),
        (nn.ReLU(), "no Conv2d or Linear layer"),
        (nn.Conv2d(5, 4, 1), "does not run on images of"),
    ],
    ids=["control-flow", "two-outputs", "no-layers", "wrong-input"],
)
def test_unsupported_networks_are_refused(module: nn.Module, text: str) -> None:
    with pytest.raises(UnsupportedNetworkError, match=text):
        trace(module, (3, 8, 8), "unsupported")
