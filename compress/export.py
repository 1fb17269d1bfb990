"""Compressed networks as files: a state dict (.safetensors), an exported program (.pt2) or an ONNX model (.onnx)."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import fx

from compress.apply import Compressed
from compress.fake_quant import FakeQuantiser, PlainQuantiser
from plan.atomic import write_atomically
from plan.errors import InvalidValueError, MissingExtraError

METADATA_KEY = "espalier"
METADATA_FILE = "espalier.json"
SUFFIXES = (".safetensors", ".pt2", ".onnx")


def export(compressed: Compressed, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes the network in the format that the file name's suffix asks for.

    Args:
        compressed: masked or physically smaller
        path: ends in .safetensors, .pt2 or .onnx
        metadata: JSON-safe, stored in the file; joined by the quantisers' ranges and the weights' scales but in ONNX,
            whose nodes hold them

    Raises:
        InvalidValueError: another suffix.
        MissingExtraError: .onnx without the packages of the `onnx` extra.
        UnsupportedNetworkError: .onnx of an operation that ONNX lacks.
        UnwritableError: the file cannot be written; what was there stays.
    """
    if path.suffix not in SUFFIXES:
        raise InvalidValueError(f"cannot export to '{path.name}' (allowed: {', '.join(SUFFIXES)}); choose one of these")
    write_atomically(path, _CONTENTS[path.suffix](compressed, metadata))


def description(compressed: Compressed) -> dict[str, Any]:
    """Returns the layers' widths and weight scales and the tensors' ranges, JSON-safe."""
    layers = {
        record.target: {
            "weight_bits": record.scheme.weight_bits,
            "weight_scale": record.scale[record.kept.outputs].tolist(),
        }
        for record in compressed.records
    }
    activations = {
        tensor: {"bits": chosen.bits, "scale": chosen.scale, "zero_point": chosen.zero_point}
        for tensor, chosen in compressed.ranges.items()
    }
    return {"layers": layers, "activations": activations}


def with_plain_rounding(module: fx.GraphModule) -> fx.GraphModule:
    """Returns a copy whose activations are rounded by elementary operations."""
    plain = copy.deepcopy(module)
    for name, part in list(plain.named_children()):
        if isinstance(part, FakeQuantiser):
            setattr(plain, name, torch.nn.Identity() if part.chosen is None else PlainQuantiser(part.chosen))
    return plain.eval()


def _text(compressed: Compressed, metadata: Mapping[str, Any]) -> str:
    return json.dumps({**metadata, **description(compressed)}, sort_keys=True, allow_nan=False)


def _state(compressed: Compressed, metadata: Mapping[str, Any]) -> bytes:
    state = {name: tensor.contiguous() for name, tensor in compressed.module.state_dict().items()}
    return save(state, metadata={METADATA_KEY: _text(compressed, metadata)})


def _program(compressed: Compressed, metadata: Mapping[str, Any]) -> bytes:
    example = torch.zeros(2, *compressed.traced.network.input_shape)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(with_plain_rounding(compressed.module), (example,), dynamic_shapes=shapes)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_FILE: _text(compressed, metadata)})
    return content.getvalue()


def _onnx(compressed: Compressed, metadata: Mapping[str, Any]) -> bytes:
    try:
        from compress.onnx_file import compressed_model  # imported here: it needs an extra
    except ImportError as error:
        raise MissingExtraError(
            f"'.onnx' needs a package that is not installed ({error.name}); pip install 'espalier[onnx]'"
        ) from error
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    content: bytes = compressed_model(compressed, {METADATA_KEY: text}).SerializeToString()
    return content


_CONTENTS: dict[str, Callable[[Compressed, Mapping[str, Any]], bytes]] = {
    ".safetensors": _state,
    ".pt2": _program,
    ".onnx": _onnx,
}
