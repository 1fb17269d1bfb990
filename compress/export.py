"""Compressed networks as files: a state dict (.safetensors) or an exported program (.pt2), what was done inside."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import fx

from compress.apply import Compressed
from compress.fake_quant import FakeQuantiser, PlainQuantiser
from plan.errors import InvalidValueError

METADATA_KEY = "espalier"
METADATA_FILE = "espalier.json"
SUFFIXES = (".safetensors", ".pt2")


def export(compressed: Compressed, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes the network in the format that the file name's suffix asks for.

    Args:
        compressed: masked or physically smaller
        path: ends in .safetensors or .pt2
        metadata: JSON-safe; joined by the quantisers' ranges and the weights' scales, and stored in the file

    Raises:
        InvalidValueError: another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise InvalidValueError(f"cannot export to '{path.name}' (allowed: {', '.join(SUFFIXES)}); choose one of these")
    text = json.dumps({**metadata, **description(compressed)}, sort_keys=True, allow_nan=False)
    partial = path.with_name(path.name + ".part" + path.suffix)
    try:
        if path.suffix == ".pt2":
            _save_program(compressed, partial, text)
        else:
            state = {name: tensor.contiguous() for name, tensor in compressed.module.state_dict().items()}
            save_file(state, partial, metadata={METADATA_KEY: text})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def description(compressed: Compressed) -> dict[str, Any]:
    """Returns the layers' widths and weight scales and the tensors' ranges, JSON-safe."""
    layers = {
        record.target: {
            "weight_bits": record.scheme.weight_bits,
            "weight_scale": record.scale[record.kept.outputs].tolist(),
        }
        for record in compressed.records
    }
    return {"layers": layers, "activations": _ranges(compressed)}


def _ranges(compressed: Compressed) -> dict[str, Any]:
    ranges = {}
    for i, tensor in enumerate(compressed.traced.tensor_nodes):
        found = compressed.module.get_submodule(f"quantiser_{i}")
        if isinstance(found, FakeQuantiser | PlainQuantiser) and found.chosen is not None:
            chosen = found.chosen
            ranges[tensor] = {"bits": chosen.bits, "scale": chosen.scale, "zero_point": chosen.zero_point}
    return ranges


def with_plain_rounding(module: fx.GraphModule) -> fx.GraphModule:
    """Returns a copy whose activations are rounded by elementary operations."""
    plain = copy.deepcopy(module)
    for name, part in list(plain.named_children()):
        if isinstance(part, FakeQuantiser):
            setattr(plain, name, torch.nn.Identity() if part.chosen is None else PlainQuantiser(part.chosen))
    return plain.eval()


def _save_program(compressed: Compressed, path: Path, text: str) -> None:
    example = torch.zeros(2, *compressed.traced.network.input_shape)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(with_plain_rounding(compressed.module), (example,), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={METADATA_FILE: text})
