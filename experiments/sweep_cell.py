"""One cell of a sweep: a run in a folder of its own, started, continued, or read when it is there already."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.config import flag_name
from plan.atomic import write_atomically
from plan.document import Document, load
from plan.errors import EspalierError

DONE, FAILED = "done", "failed"
PLAN = "plan.json"
KILLED_AGAIN = 3
"""Times that a cell is started before a killed process counts as a failure."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Cells compute with one thread each, so that a table does not depend on how many run at a time."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What one run is asked: the settings that the sweep varies, and the words that all cells share."""

    varied: tuple[tuple[str, Any], ...]
    shared: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The run's command line, without its output folder."""
        return [*(f"{flag_name(name)}={value}" for name, value in self.varied), *self.shared]

    @property
    def name(self) -> str:
        """Name of the cell's folder: readable, and different whenever anything asked is."""
        readable = "-".join(Path(str(value)).stem.partition(":")[0] for _, value in self.varied)
        plain = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in readable)
        return f"{plain}-{hashlib.sha256(' '.join(self.words).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        name: of the cell.
        row: its line of the table; the same wherever and however often it ran.
        seconds: that it took this time, 0 when it was there already.
        processor_seconds: of the process that ran it, its start included; the last of them where some were killed.
        files: content of what a cluster's node without a shared disk has to send back.
    """

    name: str
    row: Row
    seconds: float = 0.0
    processor_seconds: float = 0.0
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a run of agent.search ended: exit status (negative: killed), last words, and what it computed for."""

    status: int
    told: str
    processor_seconds: float = 0.0


def finished(cell: Cell, folder: Path) -> Outcome | None:
    """Returns the outcome of a cell whose run has ended, None where there is none or it is not whole."""
    try:
        document = load(folder / PLAN)
    except EspalierError:
        return None
    if document["accuracy"]["test"] is None:
        return None
    return Outcome(cell.name, result_row(cell, document), files={PLAN: (folder / PLAN).read_bytes()})


def run_cell(cell: Cell, folder: Path, start: Callable[[list[str]], Ended]) -> Outcome:
    """Returns how a cell ended: read when it has been run, else run or continued.

    Args:
        cell: what to run.
        folder: of its run.
        start: runs agent.search with the given words.
    """
    before = finished(cell, folder)
    if before is not None:
        return before
    began = time.monotonic()
    ended = start([*cell.words, "--out", str(folder), "--resume", "--quiet"])
    after = finished(cell, folder) if ended.status == 0 else None
    seconds = time.monotonic() - began
    if after is not None:
        return replace(after, seconds=seconds, processor_seconds=ended.processor_seconds)
    lines = ended.told.strip().splitlines()
    problem = lines[-1].removeprefix("error: ") if lines else f"ended with status {ended.status}"
    return Outcome(cell.name, {**asked_row(cell), "status": FAILED, "error": problem}, seconds, ended.processor_seconds)


def start_process(words: list[str]) -> Ended:
    """Runs agent.search in a process of its own, again when it was killed."""
    for _ in range(KILLED_AGAIN):
        ended = _one_process([sys.executable, "-m", "agent.search", *words])
        if ended.status >= 0:
            return ended
    return replace(ended, told=f"killed by signal {-ended.status}")


def _one_process(command: list[str]) -> Ended:
    """Runs a command to its end; told is its stderr."""
    environment = {**os.environ, **ONE_THREAD}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    with process:
        told = process.stderr.read() if process.stderr is not None else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, told.decode(errors="replace"), used.ru_utime + used.ru_stime)


def keep_files(outcome: Outcome, folder: Path) -> None:
    """Writes the files of an outcome where they are not yet: results of nodes that share no disk."""
    for name, content in outcome.files.items():
        if not (folder / name).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)


def asked_row(cell: Cell) -> Row:
    """Returns the part of a cell's row that says what was asked."""
    return {"cell": cell.name, **dict(cell.varied)}


def result_row(cell: Cell, document: Document) -> Row:
    """Returns a cell's row of the table; drops in points, savings as fractions against dense at baseline bits."""
    accuracy = document["accuracy"]
    splits = {
        f"{split}_{name}": value
        for split in ("validation", "test")
        for name, value in (
            ("drop_points", accuracy[split]["drop_points"]),
            ("drop_low", accuracy[split]["interval"][0]),
            ("drop_high", accuracy[split]["interval"][1]),
        )
    }
    return {
        **asked_row(cell),
        "status": DONE,
        "baseline_bits": document["baseline"]["weight_bits"],
        **{f"{name}_saving": value for name, value in sorted(document["savings"].items())},
        **document["totals"],
        "predicted_drop_points": accuracy["predicted_drop_points"],
        **splits,
        "measured_evaluations": document["made_by"]["measured_evaluations"],
        "error": "",
    }
