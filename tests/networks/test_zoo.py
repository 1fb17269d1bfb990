"""Networks by name and from files: sizes, normalisation, and one line for what cannot be used."""

from pathlib import Path

import pytest
import torch

from networks.zoo import build, check_name
from plan.errors import (
    EspalierError,
    FileFormatError,
    MismatchError,
    MissingFileError,
    UnknownNameError,
    UnsupportedNetworkError,
)

NETWORK = """
from torch import nn

class Net(nn.Sequential):
    input_size = (3, 8, 8)
    input_mean = (0.5, 0.5, 0.5)
    input_std = (0.25, 0.25, 0.25)

def make():
    return Net(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))

def text():
    return "network"

def maps():
    return nn.Conv2d(3, 4, 1)
"""


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_cifar_resnets_have_their_depth(depth: int) -> None:
    module = build(f"resnet{depth}", 10).module
    weighted = [name for name, value in module.named_parameters() if value.ndim > 1]
    assert len(weighted) == depth


def test_keys_of_cifar_resnets() -> None:
    keys = set(build("resnet20", 10).module.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer3.2.conv2.weight", "layer2.0.bn1.bias", "linear.bias"} <= keys
    assert not any("shortcut" in key or "downsample" in key for key in keys)


def test_named_network_takes_classes_and_size_from_the_data() -> None:
    source = build("resnet18", 7, (3, 48, 48))
    assert (source.classes, source.input_size, source.origin) == (7, (3, 48, 48), "torchvision")
    assert not source.module.training


def test_deep_network_gets_larger_images() -> None:
    assert build("alexnet", 10, (3, 32, 32)).input_size == (3, 224, 224)


def test_initial_weights_do_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(1)
    first = build("resnet20", 10).module.state_dict()["conv1.weight"]
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    second = build("resnet20", 10).module.state_dict()["conv1.weight"]
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


def test_auxiliary_heads_are_dropped() -> None:
    source = build("googlenet", 10, (3, 64, 64))
    assert not any(name.startswith("aux") for name in source.module.state_dict())


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    return path


def test_network_from_a_file_keeps_its_attributes(network_file: Path) -> None:
    source = build(f"{network_file}:make", None)
    assert (source.input_size, source.classes, source.name, source.origin) == ((3, 8, 8), 7, "mine:make", "file")
    assert (source.mean, source.std) == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("net", "error", "text"),
    [
        ("resnet21", UnknownNameError, "did you mean 'resnet"),
        ("mobilenet_v2x", UnknownNameError, "did you mean 'mobilenet_v2'"),
        ("mine.py:mak", UnknownNameError, "did you mean 'make'"),
        ("mine.py", UnknownNameError, "names no function"),
        ("other.py:make", MissingFileError, "does not exist"),
        ("mine.py:text", FileFormatError, "returned str"),
        ("mine.py:maps", UnsupportedNetworkError, "class scores"),
        ("broken.py:make", FileFormatError, "cannot be imported: ZeroDivisionError"),
        ("mine.py:make", MismatchError, "7 outputs, the data 10 classes"),
    ],
)
def test_wrong_networks(
    network_file: Path, monkeypatch: pytest.MonkeyPatch, net: str, error: type[EspalierError], text: str
) -> None:
    monkeypatch.chdir(network_file.parent)
    Path("broken.py").write_text("1 / 0\n")
    with pytest.raises(error, match=text) as caught:
        build(net, 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("net", ["resnet20", "vgg16_cifar", "resnet50", "mine.py:make"])
def test_right_names_pass_the_quick_check(network_file: Path, monkeypatch: pytest.MonkeyPatch, net: str) -> None:
    monkeypatch.chdir(network_file.parent)
    check_name(net)
    with pytest.raises(EspalierError):
        check_name(f"{net.replace('.py', '')}!")
