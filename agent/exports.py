"""The record of files that were written from a run's plan: their sizes beside the dense network's, for its report."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from plan.rows import read_rows, write_rows

RECORD = "exports.csv"


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        file: its path as given.
        size_bytes: its size.
        dense_float_bytes: of the dense network in float32, in the same kind of file for ONNX, else of its tensors.
        dense_bytes: of the dense network at baseline bits as ONNX, 0 for kinds of file that hold float32 only.
        plan_sha256: of the plan.json that it was written from.
    """

    file: str
    size_bytes: int
    dense_float_bytes: int
    dense_bytes: int
    plan_sha256: str


def plan_hash(plan: Path) -> str:
    """Returns the SHA-256 of a plan's file in hexadecimal digits."""
    return hashlib.sha256(plan.read_bytes()).hexdigest()


def is_of_a_run(plan: Path) -> bool:
    """Returns whether a plan is the best one of a run folder."""
    return plan.name == "plan.json" and (plan.parent / "config.json").is_file()


def read_exports(folder: Path) -> list[Exported]:
    """Returns the files that were written from the plan that a run folder holds now, none without a record.

    Raises:
        FileFormatError: a record that is broken.
    """
    if not (folder / RECORD).is_file():
        return []
    current = plan_hash(folder / "plan.json")
    rows = read_rows(folder / RECORD, Exported, "a record of written files")
    return [row for row in rows if row.plan_sha256 == current]


def record_export(folder: Path, exported: Exported) -> None:
    """Adds a file to the record of a run folder, in place of an older one of the same path.

    Raises:
        UnwritableError: the record cannot be written.
    """
    others = [row for row in read_exports(folder) if row.file != exported.file]
    write_rows(folder / RECORD, Exported, [*others, exported])
