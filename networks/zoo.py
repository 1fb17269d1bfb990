"""Networks by name (CIFAR networks, torchvision's and timm's classifiers), from a function in a file, or a program."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from networks.cifar_resnet import DEPTHS, cifar_resnet
from networks.cifar_vgg import CifarVgg16
from networks.program_file import SUFFIX, check_program, read_program
from plan.errors import (
    FileFormatError,
    MismatchError,
    MissingExtraError,
    MissingFileError,
    UnknownNameError,
    UnsupportedNetworkError,
)
from plan.registry import close_names

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGER_INPUTS = ((3, 224, 224), (3, 299, 299))
"""Tried in order when a named network is too deep for the data's own image size."""

TIMM = "timm:"
CIFAR_NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    **{f"resnet{depth}": partial(cifar_resnet, depth) for depth in DEPTHS},
    "vgg16_cifar": CifarVgg16,
}


@dataclass(frozen=True)
class NetworkSource:
    """A network with fresh weights and what it asks of its images.

    `input_size` is (channels, H, W); images in [0, 1] are normalised as (x - mean) / std per channel; `classes` is the
    length of the output; `source` is what the user gave; `origin` is "cifar", "torchvision", "timm", "file" or
    "program" (whose weights come with it).
    """

    module: nn.Module
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    name: str
    source: str
    origin: str


def build(net: str, classes: int | None, input_size: tuple[int, int, int] = (3, 32, 32)) -> NetworkSource:
    """Returns the network in evaluation mode, without auxiliary heads, initialised from seed 0.

    `classes` and `input_size` are those of the data. A named network takes both (1,000 classes without data, and a
    larger input where the data's is too small for its depth); a network from a file keeps its own.

    Raises:
        UnknownNameError: no network of that name, or no such function in the file.
        MissingFileError: the file does not exist.
        FileFormatError: the file cannot be imported, or its function does not return a module.
        MismatchError: the network's output does not fit the number of classes.
        UnsupportedNetworkError: the network accepts none of the tried input sizes, or is no classifier.
    """
    if net.endswith(SUFFIX):
        source = _from_program(net, input_size)
    elif _is_code(net):
        source = _from_file(net, input_size)
    else:
        source = _from_name(net, classes or 1000, input_size)
    if classes is not None and source.classes != classes:
        raise MismatchError(
            f"network '{net}' has {source.classes} outputs, the data {classes} classes; "
            "choose data with the network's labels or a network for these data"
        )
    return source


def check_name(net: str) -> None:
    """Raises what `build` would raise for a wrong name or path, without building anything.

    Raises:
        UnknownNameError: no network of that name.
        MissingFileError: the file does not exist.
    """
    if net.endswith(SUFFIX):
        check_program(Path(net))
    elif net.startswith(TIMM):
        _check_timm(net)
    elif _is_code(net):
        _split_source(net)
    elif net not in CIFAR_NETWORKS and net not in _torchvision_names():
        known = [*CIFAR_NETWORKS, *_torchvision_names()]
        raise UnknownNameError(
            f"no network '{net}'{close_names(net, known)} (known: {', '.join(CIFAR_NETWORKS)}, every torchvision "
            "classifier by name, timm:NAME, an exported program.pt2, or path/file.py:function)"
        )


def _torchvision_names() -> list[str]:
    from torchvision import models  # imported here: it takes seconds, which the CIFAR networks need not wait for

    return [str(name) for name in models.list_models(module=models)]


def _from_name(net: str, classes: int, input_size: tuple[int, int, int]) -> NetworkSource:
    check_name(net)
    origin, make = _maker(net)
    module = _seeded(partial(make, classes))
    mean, std = _normalisation(module)
    for size in (input_size, *LARGER_INPUTS):
        outputs = _outputs(module, size)
        if outputs is not None:
            return NetworkSource(module, size, mean, std, outputs, net.replace(":", "-"), net, origin)
    tried = ", ".join(f"{height}x{width}" for _, height, width in (input_size, *LARGER_INPUTS))
    raise UnsupportedNetworkError(f"network '{net}' classifies no images of {tried}; use data of another image size")


def _maker(net: str) -> tuple[str, Callable[[int], nn.Module]]:
    """Returns a named network's origin, and what builds it for a number of classes."""
    if net.startswith(TIMM):
        return "timm", partial(_timm, net.removeprefix(TIMM))
    if net in CIFAR_NETWORKS:
        return "cifar", CIFAR_NETWORKS[net]
    return "torchvision", partial(_torchvision, net)


def _check_timm(net: str) -> None:
    """Checks that timm is there and knows the network.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownNameError: timm has no such network.
    """
    name = net.removeprefix(TIMM)
    try:
        import timm  # imported here: it is an extra and takes seconds
    except ImportError as error:
        raise MissingExtraError(
            f"network '{net}' needs the package timm, which is not installed; pip install 'espalier[timm]'"
        ) from error
    if not timm.is_model(name):
        raise UnknownNameError(
            f"timm has no network '{name}'{close_names(name, timm.list_models())}; see timm.list_models()"
        )


def _timm(name: str, classes: int) -> nn.Module:
    import timm

    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, exportable=True)
    return module


def _normalisation(module: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation that a network's own settings state, ImageNet's where it states none."""
    stated = getattr(module, "pretrained_cfg", None) or {}
    return tuple(stated.get("mean", IMAGENET_MEAN)), tuple(stated.get("std", IMAGENET_STD))


def _torchvision(net: str, classes: int) -> nn.Module:
    from torchvision import models

    if net in ("googlenet", "inception_v3"):  # both warn unless told
        module = models.get_model(net, weights=None, num_classes=classes, init_weights=True)
    else:
        module = models.get_model(net, weights=None, num_classes=classes)
    return drop_auxiliary_heads(module)


AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")


def drop_auxiliary_heads(module: nn.Module) -> nn.Module:
    """Removes the classifiers that googlenet and inception use in training only; returns the module."""
    if getattr(module, "aux_logits", False):
        module.aux_logits = False  # type: ignore[assignment]
        for head in AUXILIARY_HEADS:
            if hasattr(module, head):
                setattr(module, head, None)
    return module


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval().float()


def _is_code(net: str) -> bool:
    return not net.startswith(TIMM) and (":" in net or net.endswith(".py"))


def _from_program(net: str, input_size: tuple[int, int, int]) -> NetworkSource:
    program = read_program(Path(net))
    channels, height, width = (
        own if own > 0 else given for own, given in zip(program.input_size, input_size, strict=True)
    )
    size = (channels, height, width)
    module = program.module.float()
    outputs = [_outputs(module, size, images) for images in (1, 2)]
    if outputs[0] is None or outputs[1] is None:
        fixed = "only one image at a time; export it with dynamic_shapes={0: Dim('batch')}"
        raise UnsupportedNetworkError(
            f"program '{net}' maps {fixed if outputs[0] else f'no images of {size} to class scores'}"
        )
    stated = program.description.get("input", {})
    mean = tuple(float(value) for value in stated.get("mean", IMAGENET_MEAN))
    std = tuple(float(value) for value in stated.get("std", IMAGENET_STD))
    return NetworkSource(module, size, mean, std, outputs[0], Path(net).stem, net, "program")


def _split_source(net: str) -> tuple[Path, str]:
    file, _, function = net.rpartition(":")
    if not file or not function:
        raise UnknownNameError(f"network '{net}' names no function; give path/file.py:function")
    if not file.endswith(".py"):
        raise UnknownNameError(f"network '{net}' is neither a known name nor path/file.py:function")
    if not Path(file).is_file():
        raise MissingFileError(f"network file '{file}' does not exist; give path/file.py:function")
    return Path(file), function


def _from_file(net: str, input_size: tuple[int, int, int]) -> NetworkSource:
    path, function = _split_source(net)
    make = _load_function(path, function)
    try:
        module = _seeded(make)
    except Exception as error:
        raise FileFormatError(str(path), [f"{function}() failed: {_one_line(error)}"]) from error
    size = tuple(getattr(module, "input_size", input_size))
    size = size if len(size) == 3 else (3, *size)
    outputs = _outputs(module, size)
    if outputs is None:
        raise UnsupportedNetworkError(
            f"network '{net}' does not map images of {size} to class scores; set its attribute input_size"
        )
    mean = tuple(float(value) for value in getattr(module, "input_mean", IMAGENET_MEAN))
    std = tuple(float(value) for value in getattr(module, "input_std", IMAGENET_STD))
    return NetworkSource(drop_auxiliary_heads(module), size, mean, std, outputs, f"{path.stem}:{function}", net, "file")


def _load_function(path: Path, function: str) -> Callable[[], nn.Module]:
    spec = importlib.util.spec_from_file_location(f"espalier_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileFormatError(str(path), ["is not a Python file"])
    namespace = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = namespace  # dataclasses in the file look themselves up there
    try:
        spec.loader.exec_module(namespace)
    except Exception as error:
        raise FileFormatError(str(path), [f"cannot be imported: {_one_line(error)}"]) from error
    known = [name for name, value in vars(namespace).items() if inspect.isfunction(value) or inspect.isclass(value)]
    if not callable(getattr(namespace, function, None)):
        raise UnknownNameError(f"{path} has no function '{function}'{close_names(function, known)}")

    def make() -> nn.Module:
        module = getattr(namespace, function)()
        if not isinstance(module, nn.Module):
            raise TypeError(f"returned {type(module).__name__}, not a torch.nn.Module")
        return module

    return make


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@torch.no_grad()
def _outputs(module: nn.Module, input_size: tuple[int, ...], images: int = 1) -> int | None:
    """Returns the number of class scores for images of that size, None where the network does not take them."""
    try:
        output = module(torch.zeros(images, *input_size))
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError):
        return None
    return int(output.shape[1]) if isinstance(output, Tensor) and output.ndim == 2 else None
