"""What a report shows, read from a run folder: plain values, ready for the page and the pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.exports import Exported, read_exports
from agent.report_energy import EnergySplit
from agent.run_folder import METRIC_COLUMNS, TIMING_COLUMNS
from plan.document import Document, load
from plan.errors import FileFormatError, MissingFileError

FRONTIER_COLUMNS = ("plan", "drop_points", "predicted_drop_points", "objective")
NUMBERED = ("drop_points", "predicted_drop_points", "objective", "value", "seconds", "processor_seconds")
SEARCH_PHASES = ("calibrate", "measure", "finalists")
"""Phases whose metrics are measured plans, in order."""
BOOKKEEPING = ("n_updates", "total_timesteps")
"""Logged figures that only count."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """Everything that a report shows.

    Attributes:
        document: the best plan so far.
        energy: of the dense network and the plan, by memory level.
        frontier: one entry per undominated plan, `document` and the figures of frontier.csv.
        measured: drop, predicted drop and objective of every measured plan in order.
        curves: metric -> (step, value) of the agent's training.
        fidelity: fidelity.json, None before it was written.
        timing: seconds per phase.
        exports: files that agent.apply wrote from this plan.
        record: command, config and versions as the folder holds them.
    """

    folder: Path
    document: Document
    energy: EnergySplit
    frontier: tuple[Row, ...]
    measured: tuple[Row, ...]
    curves: dict[str, list[tuple[int, float]]]
    fidelity: Row | None
    timing: tuple[tuple[str, float], ...]
    exports: tuple[Exported, ...]
    record: Row


def run_plan(folder: Path) -> Document:
    """Returns the best plan of a run folder.

    Raises:
        MissingFileError: no run folder, or a run without a plan yet.
        FileFormatError: a plan that is broken.
    """
    if not (folder / "config.json").is_file():
        raise MissingFileError(f"{folder} is no run folder (it holds no config.json); give a folder from runs/")
    if not (folder / "plan.json").is_file():
        raise MissingFileError(f"{folder} holds no plan yet; continue it with --out {folder} --resume")
    return load(folder / "plan.json")


def read_content(folder: Path, document: Document, energy: EnergySplit) -> Content:
    """Returns what the report of a run shows; files that a run has not written yet leave their part empty.

    Raises:
        FileFormatError: a file of the folder that is broken.
    """
    metrics = read_table(folder / "metrics.csv", METRIC_COLUMNS)
    timing = read_table(folder / "timing.csv", TIMING_COLUMNS)
    return Content(
        folder=folder,
        document=document,
        energy=energy,
        frontier=tuple(_frontier(folder)),
        measured=tuple(measured_plans(metrics)),
        curves=learning_curves(metrics),
        fidelity=_read_json(folder / "fidelity.json") if (folder / "fidelity.json").is_file() else None,
        timing=tuple((row["phase"], row["seconds"]) for row in timing),
        exports=tuple(read_exports(folder)),
        record={name: _read_json(folder / f"{name}.json") for name in ("config", "versions")}
        | {"command": _read_text(folder / "command.txt").strip()},
    )


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Returns the rows of a CSV file of a run, numbers as float; a last row cut short is left out.

    Raises:
        FileFormatError: other columns than expected, or text where a number belongs.
    """
    if not path.is_file():
        return []
    lines = [line for line in _read_text(path).splitlines(keepends=True) if line.endswith("\n")]
    reader = csv.DictReader(lines)
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise FileFormatError(str(path), [f"lacks the columns {', '.join(missing)}; restore the file"])
    rows = []
    for number, row in enumerate(reader, start=2):
        try:
            rows.append({name: float(row[name]) if name in NUMBERED else row[name] for name in columns})
        except (TypeError, ValueError) as error:
            raise FileFormatError(str(path), [f"line {number} holds no number where one belongs"]) from error
    return rows


def measured_plans(metrics: Sequence[Row]) -> list[Row]:
    """Returns drop, predicted drop, objective and best objective so far of every measured plan, in order."""
    found: dict[str, Row] = {}
    for row in metrics:
        if row["phase"] in SEARCH_PHASES and "/" not in row["metric"]:
            found.setdefault(row["step"], {"phase": row["phase"]})[row["metric"]] = row["value"]
    return [entry for entry in found.values() if {"drop_points", "objective"} <= entry.keys()]


def learning_curves(metrics: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    """Returns the figures of the agent's training that change, metric -> (step, value) in order."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in metrics:
        counts = row["metric"].endswith(BOOKKEEPING)
        if row["phase"] == "learn" and row["step"].isdigit() and not counts:
            curves.setdefault(row["metric"].removeprefix("learn/"), []).append((int(row["step"]), row["value"]))
    return {name: curve for name, curve in curves.items() if len(curve) == 1 or len({value for _, value in curve}) > 1}


def _frontier(folder: Path) -> list[Row]:
    rows = read_table(folder / "frontier.csv", FRONTIER_COLUMNS)
    return [{**row, "document": load(folder / row["plan"])} for row in rows if (folder / row["plan"]).is_file()]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(str(path), [f"is not text: {error.reason}; restore the file"]) from error
    except OSError as error:
        raise MissingFileError(f"cannot read {path}: {error.strerror}; restore the file") from error


def _read_json(path: Path) -> Row:
    try:
        content = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(str(path), [f"is not JSON: {error}; restore the file"]) from error
    if not isinstance(content, dict):
        raise FileFormatError(str(path), ["is not a JSON object; restore the file"])
    return content
