"""agent.zip: a composite agent as JSON, safetensors and npz. Nothing in it is pickled, and it is written atomically.

Members: `agent.json` (schema, shapes, settings, counters), `parameters.safetensors` (networks and their optimisers),
`state.npz` (random numbers and the best plans met), `replay.npz` (replayed transitions, most of the file).
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from networks.archive import UNREADABLE
from plan.atomic import write_atomically
from plan.errors import FileFormatError, MissingFileError

SCHEMA, VERSION = "espalier.agent", 3
WITHOUT_REPLAY = 2
"""The version before, which is read too: it had its replayed transitions in `STATE`."""
HEADER, PARAMETERS, STATE, REPLAY = "agent.json", "parameters.safetensors", "state.npz", "replay.npz"
OF_REPLAY = "replay_"
"""How the names of the arrays in `REPLAY` begin."""
REPLAYED = ("observations", "actions", "rewards", "dones")


@dataclass(frozen=True)
class AgentFile:
    """The content of an agent file: plain JSON values, tensors and arrays by name."""

    header: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    arrays: dict[str, NDArray[Any]]


def write_agent_file(path: Path, content: AgentFile) -> None:
    """Writes the file beside its place and moves it there, so that a reader finds the old one or the new one.

    Raises:
        UnwritableError: the folder cannot be written.
    """
    replayed = {name for name in content.arrays if name.startswith(OF_REPLAY)}
    header = {"schema": SCHEMA, "version": VERSION, **content.header}
    members = {
        HEADER: json.dumps(header, sort_keys=True, indent=1, allow_nan=False).encode(),
        PARAMETERS: save_tensors(content.tensors),
        STATE: _packed({name: array for name, array in content.arrays.items() if name not in replayed}),
        REPLAY: _packed({name: content.arrays[name] for name in sorted(replayed)}),
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in members.items():  # the level of the archive does not hold for an entry's own ZipInfo
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, compresslevel=1)
    write_atomically(path, whole.getvalue())


def _packed(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def read_agent_file(path: Path, *, replay: bool = True) -> AgentFile:
    """Returns the content of a file that `write_agent_file` wrote.

    Args:
        path: of the file.
        replay: whether replayed transitions are read, which only further training needs.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not such a file, or of an unknown version.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; give the agent.zip of a run folder")
    try:
        with zipfile.ZipFile(path) as archive:
            header = _checked(json.loads(archive.read(HEADER)), path)
            tensors = load_tensors(archive.read(PARAMETERS))
            arrays = _unpacked(archive.read(STATE))
            if replay and header["version"] != WITHOUT_REPLAY:
                arrays |= _unpacked(archive.read(REPLAY))
    except (*UNREADABLE, safetensors.SafetensorError) as error:
        raise FileFormatError(str(path), [f"not an agent file ({error})"]) from error
    return AgentFile(header, tensors, arrays)


def _checked(header: object, path: Path) -> dict[str, Any]:
    if not isinstance(header, dict):
        raise FileFormatError(str(path), [f"{HEADER} is not a JSON object"])
    schema, version = header.get("schema"), header.get("version")
    if schema != SCHEMA or version not in (VERSION, WITHOUT_REPLAY):
        raise FileFormatError(str(path), [f"schema {schema} version {version} (known: {SCHEMA} version {VERSION})"])
    return header
