"""Weights of a network: read from a file, fetched for a network's own data, or trained here on the embedded data."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from networks.data import Dataset
from networks.train import Progress, recipe_for, train
from networks.zoo import AUXILIARY_HEADS, NetworkSource
from plan.atomic import CACHE_ADVICE, replacing
from plan.errors import (
    EspalierError,
    FileFormatError,
    InvalidValueError,
    MismatchError,
    MissingFileError,
)

IMAGENET_SYNSETS_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
"""SHA-256 of the 1,000 sorted synset names joined by line feeds: the label order of the hub's weights."""
CONNECT_SECONDS = 10.0
RECIPE_VERSION = 1
"""Raised whenever training gives other weights, so that old cached ones are not taken for new."""
SHOWN_KEYS = 3


@dataclass(frozen=True)
class LoadedWeights:
    """What a network's weights are and where from: "file", "program", "cache", "trained", "hub" or "none"."""

    origin: str
    sha256: str


def load(
    source: NetworkSource, weights: str, data: Dataset | None = None, *, progress: Progress | None = None
) -> LoadedWeights:
    """Loads weights into `source.module` and leaves it in evaluation mode.

    Args:
        source: the network as `zoo.build` returned it.
        weights: `auto`, `none` (seeded initial weights stay), or a `.safetensors`, `.pt` or `.pth` file; an exported
            program keeps its own under `auto` and `none`.
        data: what the network will see; `auto` depends on it.
        progress: told about every epoch where weights are trained.

    Raises:
        MissingFileError: the file does not exist.
        FileFormatError: the file is not a state dict of plain tensors, or holds non-finite values.
        MismatchError: the file's weights are those of another network.
        InvalidValueError: `auto` has nothing for this network and these data.
        UnwritableError: the cache cannot be written.
    """
    if source.origin == "program" and weights in ("auto", "none"):
        origin = "program"
    elif weights == "none":
        origin = "none"
    elif weights == "auto":
        origin = _load_auto(source, data, progress)
    else:
        _fill(source.module, read_state(Path(weights)), weights)
        origin = "file"
    source.module.eval()
    return LoadedWeights(origin, weights_sha256(source.module))


def check_path(weights: str) -> None:
    """Raises what `load` would raise for a path that cannot be one of weights, without reading it.

    Raises:
        MissingFileError: the file does not exist.
        InvalidValueError: the suffix is unknown.
    """
    if weights in ("auto", "none"):
        return
    if Path(weights).suffix not in (".safetensors", ".pt", ".pth"):
        raise InvalidValueError(f"weights '{weights}' are not auto, none, or a .safetensors, .pt or .pth file")
    if not Path(weights).is_file():
        raise MissingFileError(f"weights file '{weights}' does not exist; give auto, none, or an existing file")


def weights_sha256(module: nn.Module) -> str:
    """Returns SHA-256 over names, shapes, types and values of the state dict (batch counters left out)."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Returns the state dict in the file; nothing is unpickled but tensors.

    Raises:
        MissingFileError: the file does not exist.
        FileFormatError: the file holds something else than a state dict of tensors.
        InvalidValueError: the suffix is unknown.
    """
    check_path(str(path))
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        reason = "holds more than plain tensors" if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise FileFormatError(str(path), [f"cannot be read as a state dict ({reason}); save one anew"]) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FileFormatError(str(path), ["is not a state dict (a mapping from names to tensors)"])
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _fill(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copies the state into the module.

    Raises:
        MismatchError: keys or shapes differ.
        FileFormatError: values are not finite.
    """
    own = module.state_dict()
    state = {name: value for name, value in state.items() if name.split(".")[0] not in AUXILIARY_HEADS or name in own}
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    found = [("missing", missing), ("unexpected", unexpected), ("mis-shaped", shapes)]
    problems = [f"{kind}: {_few(names)}" for kind, names in found if names]
    if problems:
        raise MismatchError(f"weights '{source}' belong to another network ({'; '.join(problems)})")
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise FileFormatError(source, [f"holds values that are not finite: {_few(broken)}"])
    module.load_state_dict(state, strict=False)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_KEYS} more" if len(names) > SHOWN_KEYS else ""
    return ", ".join(names[:SHOWN_KEYS]) + more


def _load_auto(source: NetworkSource, data: Dataset | None, progress: Progress | None) -> str:
    if data is not None and data.embedded and source.origin != "file":
        return _cached(source, _digits_name(source, data), lambda: _train_on(source, data, progress), "trained")
    if data is not None and source.origin == "torchvision" and _labels_sha256(data.classes) == IMAGENET_SYNSETS_SHA256:
        if hasattr(source.module, "transform_input"):  # these weights expect another normalisation, which it applies
            source.module.transform_input = True  # type: ignore[assignment]
        return _cached(source, f"{source.name}-imagenet", lambda: _fetch(source), "hub")
    raise InvalidValueError(
        f"--weights auto has nothing for network '{source.source}' on data '{data.name if data else 'none'}': it "
        "covers named networks on digits and torchvision networks on the 1,000 ImageNet classes; give --weights FILE"
    )


def cache_folder() -> Path:
    """Returns where weights are kept: $ESPALIER_CACHE or ~/.cache/espalier."""
    return Path(os.environ.get("ESPALIER_CACHE") or Path.home() / ".cache" / "espalier")


def _digits_name(source: NetworkSource, data: Dataset) -> str:
    return f"{source.name}-{data.name}-{source.input_size[1]}-v{RECIPE_VERSION}"


def _cached(source: NetworkSource, name: str, make: Callable[[], None], made: str) -> str:
    """Fills the module from the cache, or calls `make` to fill it and caches what it made."""
    path = cache_folder() / "weights" / f"{name}.safetensors"
    if path.is_file():
        try:
            _fill(source.module, read_state(path), str(path))
            return "cache"
        except EspalierError:
            path.unlink(missing_ok=True)  # cut short or of another version: made again
    make()
    _write(path, source.module)
    return made


def _write(path: Path, module: nn.Module) -> None:
    with replacing(path, CACHE_ADVICE, parents=True, failures=(safetensors.SafetensorError,)) as partial:
        save_file({name: value.contiguous().clone() for name, value in module.state_dict().items()}, partial)


def _train_on(source: NetworkSource, data: Dataset, progress: Progress | None) -> None:
    images, labels = data.splits.train, data.splits.train.label_tensor()
    if labels is None:
        raise InvalidValueError(f"data '{data.name}' have no labels to train on; give --weights FILE")
    tensor = images.tensor(source.input_size, source.mean, source.std)
    recipe = recipe_for(source.module, _macs(source))
    checkpoint = cache_folder() / "weights" / f"{_digits_name(source, data)}.checkpoint"
    train(source.module, tensor, labels, recipe=recipe, checkpoint=checkpoint, progress=progress)


@torch.no_grad()
def _macs(source: NetworkSource) -> int:
    """Returns the multiply-accumulates of convolutions and linear layers for one image, counted by hooks."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = layer.get_parameter("weight")
        total += output.numel() * weight[0].numel()

    layers = [layer for layer in source.module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    source.module(torch.zeros(1, *source.input_size))
    for hook in hooks:
        hook.remove()
    return total


def _labels_sha256(classes: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(classes).encode()).hexdigest()


def _fetch(source: NetworkSource) -> None:
    from torchvision import models

    enum = models.get_model_weights(source.name)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        state = enum.DEFAULT.get_state_dict(progress=False, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise MissingFileError(
            f"the weights of '{source.name}' are not cached and could not be fetched ({error}); give --weights FILE"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    _fill(source.module, dict(state), f"hub:{source.name}")
