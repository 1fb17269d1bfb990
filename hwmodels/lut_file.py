"""The file form of a hardware known by measurements: a TOML file that names a CSV table beside it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from hwmodels import capability_file
from hwmodels.accelerator import Nameplate
from hwmodels.lut import AXES, COSTS, KINDS, OUTSIDE, SHAPE, Grid, Key, Lut
from hwmodels.schema import Field, Schema, one_of
from plan.errors import FileFormatError, MissingFileError
from plan.scheme import STRUCTURED

SCHEMA: Schema = {
    "table": {"file": Field("text"), "outside": one_of(*OUTSIDE)},
    "capabilities": capability_file.SECTION,
}
COLUMNS = (*SHAPE, "granularity", *AXES, *COSTS)
SHOWN_PROBLEMS = 20
Row = dict[str, Any]


def attach(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the content with the rows of its table, which is read from the folder of the TOML file.

    Raises:
        MissingFileError: no table there.
        FileFormatError: lists faulty lines, repeated rows and holes in the grids.
    """
    path = folder / content["table"]["file"]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            header, lines = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MissingFileError(
            f"cannot read table {path}: {error}; [table] file names a CSV beside the .toml"
        ) from error
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise FileFormatError(str(path), [f"has no column {', '.join(missing)} (needed: {', '.join(COLUMNS)})"])
    rows, problems = _rows(lines)
    problems = problems or _grid_problems(rows)
    if problems or not rows:
        raise FileFormatError(str(path), problems[:SHOWN_PROBLEMS] or ["holds no measurement"])
    return {**content, "table": {**content["table"], "rows": rows}}


def _rows(lines: Sequence[Mapping[str, Any]]) -> tuple[list[Row], list[str]]:
    """Returns the typed rows, and a problem per faulty line."""
    rows: list[Row] = []
    problems = []
    for number, line in enumerate(lines, start=2):
        row: Row = {"granularity": line["granularity"]}
        if row["granularity"] not in KINDS or row["granularity"] in STRUCTURED:
            known = ", ".join(kind for kind in KINDS if kind not in STRUCTURED)
            problems.append(f"line {number}: granularity {row['granularity']!r} is unknown (allowed: {known})")
        for name in (*SHAPE, *AXES, *COSTS):
            row[name] = _number(line[name])
            if math.isnan(row[name]):
                problems.append(f"line {number}: {name} must be a number above 0, found {line[name]!r}")
        rows.append(row)
    return rows, problems


def _number(text: str | None) -> float:
    """Returns the number of a cell, NaN where it is none or not above 0."""
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) and value > 0.0 else math.nan


def _by_key(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault((tuple(int(row[name]) for name in SHAPE), row["granularity"]), []).append(row)
    return found


def _grid_problems(rows: Sequence[Row]) -> list[str]:
    """Returns repeated rows and points that a grid lacks."""
    problems = []
    for (shape, kind), members in _by_key(rows).items():
        where = f"{dict(zip(SHAPE, shape, strict=True))} {kind}"
        points = [tuple(row[name] for name in AXES) for row in members]
        problems += [
            f"{where}: {_words(point)} is measured twice" for point in {p for p in points if points.count(p) > 1}
        ]
        wanted = product(*(sorted({point[axis] for point in points}) for axis in range(len(AXES))))
        problems += [f"{where}: {_words(point)} is missing in the grid" for point in wanted if point not in set(points)]
    return problems


def _words(point: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in zip(AXES, point, strict=True))


def build(content: Mapping[str, Any], nameplate: Nameplate) -> Lut:
    """Returns the accelerator of a checked file with its rows attached."""
    return Lut(
        nameplate,
        {key: _grid(members) for key, members in _by_key(content["table"]["rows"]).items()},
        outside=content["table"]["outside"],
    )


def _grid(members: Sequence[Row]) -> Grid:
    axes = tuple(np.unique([row[name] for row in members]) for name in AXES)
    ordered = sorted(members, key=lambda row: tuple(row[name] for name in AXES))
    sizes = tuple(axis.size for axis in axes)
    return Grid(axes, *(np.array([row[name] for row in ordered]).reshape(sizes) for name in COSTS))
