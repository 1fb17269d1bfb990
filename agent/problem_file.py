"""A run's problem as files of its checkpoint: later questions need neither the network's code nor its data.

`problem.json` holds the network's shapes, the baseline's bits and the hardware's fingerprint, `errors.npz` the table of
predicted errors. Both are written before the search begins.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import Problem
from hwmodels.accelerator import Accelerator
from plan.atomic import replacing, write_atomically
from plan.errors import FileFormatError, MismatchError, MissingFileError
from plan.layer import ChannelGroup, InputSegment, Layer, Network
from plan.restrictions import Restrictions
from plan.space import build_space

NAME, ERRORS = "problem.json", "errors.npz"
SCHEMA, VERSION = "espalier.problem", 1


def save_problem(folder: Path, problem: Problem) -> None:
    """Writes a problem, its calibration and objective left out.

    Raises:
        UnwritableError: the folder cannot be written.
    """
    with replacing(folder / ERRORS, "free space or change --out") as partial:
        problem.errors.save(partial)
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "network": asdict(problem.network),
        "hardware": problem.accelerator.fingerprint,
        "baseline_bits": problem.space.baseline_bits,
    }
    write_atomically(folder / NAME, (json.dumps(content, sort_keys=True, allow_nan=False) + "\n").encode())


def load_problem(folder: Path, accelerator: Accelerator, restrictions: Restrictions, objective: str) -> Problem:
    """Returns the problem that `save_problem` wrote, with the calibration of nothing measured.

    Args:
        folder: the checkpoint of a run.
        accelerator: the hardware of the run.
        restrictions: what the run may touch.
        objective: what to reduce, another than the run's if wanted.

    Raises:
        MissingFileError: the run stopped before its search.
        FileFormatError: not files that `save_problem` wrote.
        MismatchError: another hardware than the run's.
    """
    file = folder / NAME
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist; the run never came to its search, continue it with --resume")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if (content["schema"], content["version"]) != (SCHEMA, VERSION):
            raise ValueError(f"schema {content['schema']} version {content['version']}")
        network, stated, bits = network_of(content["network"]), content["hardware"], int(content["baseline_bits"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(str(file), [f"not a problem of version {VERSION} ({error})"]) from error
    if stated != accelerator.fingerprint:
        raise MismatchError(f"{accelerator.name} has changed since the run in {folder.parent}; train again")
    space = build_space(network, accelerator.capabilities, bits, restrictions)
    return Problem(network, accelerator, space, ErrorTable.load(folder / ERRORS), Calibration(), objective)  # type: ignore[arg-type]


def network_of(content: dict[str, Any]) -> Network:
    """Returns the network that `dataclasses.asdict` made plain values of."""
    return Network(
        name=content["name"],
        input_shape=tuple(content["input_shape"]),
        layers=tuple(_layer(entry) for entry in content["layers"]),
        groups=tuple(
            ChannelGroup(**{**entry, "producers": tuple(entry["producers"]), "consumers": tuple(entry["consumers"])})
            for entry in content["groups"]
        ),
        edges=tuple((first, second) for first, second in content["edges"]),
        notes=tuple(content["notes"]),
    )


def _layer(entry: dict[str, Any]) -> Layer:
    segments = tuple(InputSegment(**segment) for segment in entry["inputs"])
    return Layer(**{**entry, "inputs": segments})
