"""Repaired layers on disk, shared by runs and bounded by bytes; the least recently used go first.

A file holds one repaired layer, named by the hash of all that it follows from: code, weights, calibration images,
repair options, layer, scheme and kept channels. What is read back is what would be computed.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.profile import Profile
from compress.repair import RepairedLayer, RepairOptions, Request

LIMIT_BYTES = 2 << 30
SUFFIX = ".npz"


def profile_sha256(found: Profile) -> str:
    """Returns the hash of the weights, sensitivities and calibration images behind a profile."""
    digest = hashlib.sha256(found.calibration_sha256.encode())
    for layer in found.layers:
        for part in (layer.weight, layer.fisher, layer.input_mean):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def request_key(context: str, layer: int, request: Request, options: RepairOptions) -> str:
    """Returns the name of a repaired layer, 64 hexadecimal digits, in a context (code, profile)."""
    kept = request.kept
    text = repr((context, layer, str(request.method), request.density, request.weight_bits, kept.output_gain, options))
    return hashlib.sha256(text.encode() + kept.inputs.tobytes() + b"/" + kept.outputs.tobytes()).hexdigest()


@dataclass
class LayerStore:
    """A folder of repaired layers.

    Args:
        folder: made when the first layer is stored; where it cannot be written, layers are computed every time.
        context: hash of the code and the profile that all keys of this store rest on.
        limit_bytes: size that the folder is cut down to after it has grown by a tenth of it.
    """

    folder: Path
    context: str
    limit_bytes: int = LIMIT_BYTES
    written_bytes: int = 0

    def get(
        self, layer: int, request: Request, options: RepairOptions, make: Callable[[], RepairedLayer]
    ) -> RepairedLayer:
        """Returns the stored layer, or makes and stores it."""
        file = self.folder / f"{request_key(self.context, layer, request, options)}{SUFFIX}"
        found = _read(file)
        if found is not None:
            return found
        made = make()
        self._write(file, made)
        return made

    def _write(self, file: Path, made: RepairedLayer) -> None:
        """Stores a layer; a full or read-only disk only costs the time that the store would have saved."""
        partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
        zero_point = np.zeros(0, np.int64) if made.zero_point is None else made.zero_point
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.savez(
                    stream,
                    levels=made.levels,
                    scale=made.scale,
                    packed_mask=made.packed_mask,
                    bits=np.int64(made.bits),
                    zero_point=zero_point,
                )
            self.written_bytes += partial.stat().st_size
            partial.replace(file)
            if self.written_bytes > self.limit_bytes // 10:
                self.shrink()
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def shrink(self) -> None:
        """Deletes the layers that were not used for longest until the folder keeps its limit."""
        entries = [(entry, entry.stat()) for entry in self.folder.glob(f"*{SUFFIX}")]
        total = sum(stat.st_size for _, stat in entries)
        for entry, stat in sorted(entries, key=lambda pair: pair[1].st_mtime_ns):
            if total <= self.limit_bytes:
                break
            entry.unlink(missing_ok=True)
            total -= stat.st_size
        self.written_bytes = 0


def _read(file: Path) -> RepairedLayer | None:
    """Returns a stored layer and marks it as used; None when there is none, or it was cut short."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            zero_point = content["zero_point"] if len(content["zero_point"]) else None
            arrays = content["levels"], content["scale"], content["packed_mask"]
            found = RepairedLayer(*arrays, int(content["bits"]), zero_point)
        os.utime(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found
