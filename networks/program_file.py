"""Exported programs (.pt2, torch.export.save) read so that nothing in the file is unpickled or evaluated.

torch's own reader is not safe on a stranger's file: it unpickles sample inputs, older kinds of weights and custom
objects, and evaluates symbolic expressions, which are Python text. Here the archive is looked through first and
refused where it holds a pickled member, an operator that is none of torch's own tensor operators, or an expression
that is more than arithmetic. What remains, without guards and source notes, goes to torch's reader as a new archive.
Sample inputs are the one pickled member that torch always writes; they are left out unread.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

from networks.program_graph import plain_graph
from plan.errors import FileFormatError, MissingFileError

SUFFIX = ".pt2"
DESCRIPTION = "espalier.json"
"""Extra file in which `agent.apply` states how images are normalised."""
_MODEL = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_PLAIN = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/.+|archive_format|archive_version|byteorder|"
    r"\.data/(version|serialization_id)|version"
)
_OPERATORS = re.compile(
    r"torch\.ops\.aten\.(?!from_file|_?save|_?load)\w+(\.\w+)?|torch\.sym_\w+|"
    r"_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge)"
)
_ARITHMETIC = re.compile(
    r"(?:'[a-z]+\d+'|\b(?:Symbol|Integer|Add|Mul|Pow|Mod|PythonMod|FloorDiv|CeilDiv|Max|Min|positive|nonnegative|integer|"
    r"True|False|[a-z]\d+|\d+)\b|[-+*/(),= ])*"
)


@dataclass(frozen=True, eq=False)
class Program:
    """A program as a graph of torch's operators.

    module: takes float32 (N, C, H, W), returns one tensor; parameters keep their names
    input_size: (C, H, W), -1 where the program leaves it free
    description: what `agent.apply` wrote beside it, empty for other programs
    """

    module: fx.GraphModule
    input_size: tuple[int, int, int]
    description: dict[str, Any]


def check_program(path: Path) -> None:
    """Raises what `read_program` would raise for the members of the archive, without loading it.

    Raises:
        MissingFileError: the file does not exist.
        FileFormatError: it is no exported program, or holds something that only unpickling could read.
    """
    _safe_members(path)


def read_program(path: Path) -> Program:
    """Returns the program.

    Raises:
        MissingFileError: the file does not exist.
        FileFormatError: it is no exported program, or holds something that is not safe to load.
        UnsupportedNetworkError: it takes or returns something else than one tensor of images and one of scores.
    """
    members = _safe_members(path)
    try:
        exported = torch.export.load(io.BytesIO(_archive(path.stem, members)))
    except Exception as error:  # a damaged file can raise anything
        raise FileFormatError(str(path), [f"cannot be read as an exported program: {_one_line(error)}"]) from error
    found = plain_graph(exported, str(path))
    return Program(found.module, found.input_size, _described(members))


def _safe_members(path: Path) -> dict[str, bytes]:
    """Returns the members by their name under the archive's root, checked and with the model made harmless."""
    if not path.is_file():
        raise MissingFileError(f"network file '{path}' does not exist; give an exported program that ends in {SUFFIX}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            members = {name.partition("/")[2]: archive.read(name) for name in names if not name.endswith(_SAMPLES)}
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise FileFormatError(str(path), [f"is not an exported program: {error}"]) from error
    problems = _faults(members)
    if problems:
        raise FileFormatError(str(path), problems)
    return members


def _faults(members: dict[str, bytes]) -> list[str]:
    if _MODEL not in members or any(name not in members for name in _CONFIGS):
        return [
            "is not an exported program with plain weights (older kinds are pickled); save it anew with "
            "torch.export.save of torch 2.9 or newer"
        ]
    known = {_MODEL, *_CONFIGS}
    strange = [name for name in members if name not in known and not _PLAIN.fullmatch(name)]
    if strange:
        return [f"member '{strange[0]}' is not of a kind that is safe to load; refused"]
    try:
        pickled = [
            name
            for config in _CONFIGS
            for name, entry in json.loads(members[config])["config"].items()
            if _is_pickled(entry)
        ]
        model = json.loads(members[_MODEL])
        members[_MODEL] = json.dumps(_harmless(model)).encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"is not an exported program: {_one_line(error)}"]
    if pickled:
        return [f"'{pickled[0]}' is pickled, which is not safe to load; refused"]
    return list(dict.fromkeys(_unsafe(model)))


def _is_pickled(entry: dict[str, Any]) -> bool:
    return bool(entry["use_pickle"]) or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"])


def _unsafe(value: Any) -> Iterator[str]:
    """Yields what a model may not hold: foreign operators, and expressions that are more than arithmetic."""
    if isinstance(value, list):
        for item in value:
            yield from _unsafe(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "target" and isinstance(item, str) and "inputs" in value and not _OPERATORS.fullmatch(item):
                yield f"operator '{item}' is none of torch's own tensor operators; refused"
            elif key == "expr_str" and not (isinstance(item, str) and _ARITHMETIC.fullmatch(item)):
                yield f"expression '{item}' is more than arithmetic; refused"
            elif key in ("as_custom_obj", "as_operator") and item:
                yield f"holds a custom object ({key}); refused"
            else:
                yield from _unsafe(item)


def _harmless(model: dict[str, Any]) -> dict[str, Any]:
    """Returns the model without guards, which are Python text, and without notes on where a node came from."""
    model["guards_code"] = []
    for node in model["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}
    return model


def _archive(stem: str, members: dict[str, bytes]) -> bytes:
    """Returns the members as an archive with empty sample inputs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**members, _SAMPLES: b""}.items():
            archive.writestr(f"{stem}/{name}", content)
    return buffer.getvalue()


def _described(members: dict[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(members.get(f"extra/{DESCRIPTION}", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
