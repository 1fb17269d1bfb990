"""State dicts of compressed networks put back into a network: shapes follow the file, activations are rounded again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import safe_open
from torch import Tensor, fx, nn

from compress.equalise import with_channel_clips
from compress.export import METADATA_KEY
from compress.fake_quant import with_quantisers
from compress.materialize import fit_attributes
from compress.quantize import ActivationRange
from compress.repair_record import equalises
from networks.trace import TracedNetwork, trace
from plan.errors import FileFormatError, MismatchError, MissingFileError

NOT_STORED = "num_batches_tracked"


def load_compressed(path: Path, module: nn.Module) -> fx.GraphModule:
    """Returns a network as `agent.apply --out FILE.safetensors` wrote it, activations rounded, ready to run.

    Args:
        path: the file
        module: the dense network that the plan was made for, with whatever weights; it is not changed

    Raises:
        MissingFileError: the file does not exist.
        FileFormatError: the file was not written by `agent.apply`.
        MismatchError: the file belongs to another network.
    """
    state, written = read_compressed(path)
    network = written["plan"]["network"]
    traced = trace(module, tuple(network["input_shape"]), network["name"])
    if traced.network.fingerprint != network["fingerprint"]:
        raise MismatchError(f"{path} belongs to network '{network['name']}' of other shapes; give the one of its plan")
    if equalises(written["plan"]["repairs"]):
        traced = with_channel_clips(traced)
    return with_state(traced, state, written["activations"])


def read_compressed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors and what is written beside them: the plan, widths, scales, ranges.

    Raises:
        MissingFileError: the file does not exist.
        FileFormatError: the file was not written by `agent.apply`.
    """
    if not path.is_file():
        raise MissingFileError(f"'{path}' does not exist; give a .safetensors file that agent.apply --out wrote")
    try:
        with safe_open(path, "pt") as archive:
            state = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (no mapping)
            written = json.loads((archive.metadata() or {}).get(METADATA_KEY, "{}"))
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise FileFormatError(str(path), [f"cannot be read: {error}"]) from error
    if not {"plan", "layers", "activations"} <= set(written):
        raise FileFormatError(str(path), ["was not written by agent.apply: it does not say what was done"])
    return state, written


def with_state(traced: TracedNetwork, state: Mapping[str, Tensor], ranges: Mapping[str, Any]) -> fx.GraphModule:
    """Returns a copy of the network with these tensors, whatever their sizes, and these ranges of stored tensors.

    Raises:
        MismatchError: a tensor that the network lacks, or the other way round.
    """
    module, quantisers = with_quantisers(traced)
    own = {name for name in module.state_dict() if not name.endswith(NOT_STORED)}
    biases = {f"{target}.bias" for target in traced.layer_targets}
    given = {name for name in state if not name.endswith(NOT_STORED)}
    strange = sorted((own - given) | (given - own - biases))
    if strange or set(ranges) - set(quantisers):
        raise MismatchError(f"the file belongs to another network (for one, '{(strange or sorted(ranges))[0]}')")
    for name, tensor in state.items():
        _set(module, name, tensor)
    for part in module.modules():
        fit_attributes(part)
    for stored, entry in ranges.items():
        quantisers[stored].chosen = ActivationRange(entry["bits"], entry["scale"], entry["zero_point"])
    return module.eval()


def _set(module: nn.Module, path: str, tensor: Tensor) -> None:
    prefix, _, name = path.rpartition(".")
    owner = module.get_submodule(prefix)
    if name in owner._buffers:
        owner._buffers[name] = tensor
    else:
        owner._parameters[name] = nn.Parameter(tensor, requires_grad=False) if tensor.is_floating_point() else None


def differences(expected: nn.Module, found: Mapping[str, Tensor]) -> list[str]:
    """Returns which tensors of a file differ from those of a network, one text each."""
    own = {name: tensor for name, tensor in expected.state_dict().items() if not name.endswith(NOT_STORED)}
    texts = [f"{name}: it is missing" for name in own if name not in found]
    texts += [f"{name}: the network has none" for name in found if name not in own and not name.endswith(NOT_STORED)]
    for name in own.keys() & found.keys():
        if own[name].shape != found[name].shape:
            texts.append(f"{name}: it is {tuple(found[name].shape)}, the plan leaves {tuple(own[name].shape)}")
        elif not torch.equal(own[name], found[name]):
            texts.append(f"{name}: {int((own[name] != found[name]).sum())} values are not the plan's")
    return sorted(texts)
