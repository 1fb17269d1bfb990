"""The folder of a run: what was asked, with which versions, what happened, and the best plan so far."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config import NO_EFFECT, Settings, flag_name
from plan.atomic import write_atomically
from plan.document import Document, save
from plan.errors import InvalidValueError, MismatchError, MissingFileError, UnwritableError

RUNS = Path("runs")
METRIC_COLUMNS = ("phase", "step", "metric", "value")
TIMING_COLUMNS = ("phase", "seconds", "processor_seconds")
LIBRARIES = ("espalier", "torch", "torchvision", "numpy", "scipy", "stable-baselines3", "sb3-contrib", "gymnasium")
PARTIAL = ".partial"
"""Ends the names of files that a killed run had begun to write."""
PER_RUN = (*NO_EFFECT, "time_limit", "device")
"""Settings that may differ between a run and its continuation."""


def versions(device: str) -> dict[str, str | int]:
    """Returns the versions of what computes figures, the kind of machine, and the title of what networks run on."""
    found = {name: _version(name) for name in LIBRARIES}
    machine = f"{platform.system()} {_processor()}"
    return {"python": platform.python_version(), "machine": machine, "threads": threads(), "device": device, **found}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Returns the name of the processor, its architecture where the system does not tell."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def choose_folder(settings: Settings) -> Path:
    """Returns the folder of a run: as asked, or a new one of its name in `runs/`, or the newest when resuming.

    Raises:
        InvalidValueError: the folder holds something and the run is not to be resumed.
        MissingFileError: what it holds is no run.
        UnwritableError: it cannot be made.
    """
    if settings.out is not None:
        return _writable(_asked_folder(Path(settings.out), settings.resume))
    name = f"{short_name(settings.net)}-{short_name(settings.hw)}-seed{settings.seed}"
    taken = [folder for folder in _numbered(name) if folder.exists()]
    if settings.resume and taken:
        return taken[-1]
    return _writable(next(folder for folder in _numbered(name) if not folder.exists()))


def _writable(folder: Path) -> Path:
    """Returns the folder after a look at whether it can be made."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UnwritableError(f"cannot write in {there}; give another folder with --out")
    return folder


def _numbered(name: str) -> Iterable[Path]:
    """Yields name, name-2, ... up to the first that does not exist."""
    folder, number = RUNS / name, 1
    while folder.exists():
        yield folder
        number += 1
        folder = RUNS / f"{name}-{number}"
    yield folder


def _asked_folder(folder: Path, resume: bool) -> Path:
    if folder.exists() and not folder.is_dir():
        raise InvalidValueError(f"--out {folder} is a file; give a folder")
    filled = folder.is_dir() and any(not entry.name.endswith(PARTIAL) for entry in folder.iterdir())
    if filled and not resume:
        raise InvalidValueError(f"--out {folder} is not empty; give --resume to continue it, or another folder")
    if filled and not (folder / "config.json").is_file():
        raise MissingFileError(f"--out {folder} holds no run to resume; give another folder")
    return folder


def short_name(source: str) -> str:
    """Returns a name for files of a network, given by name or as code in a file."""
    stem = Path(source.rpartition(":")[0]).stem if ".py:" in source else Path(source).stem
    return "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in stem)


@dataclass
class RunFolder:
    """A run's folder. Files are written atomically; CSV rows are appended as things happen."""

    path: Path
    _phase: str = field(default="", init=False)
    _begun: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _written: set[tuple[str, ...]] = field(default_factory=set, init=False)

    @property
    def plan(self) -> Path:
        """The best plan so far."""
        return self.path / "plan.json"

    @property
    def checkpoint(self) -> Path:
        """What a continuation needs."""
        return self.path / "checkpoint"

    def create(self, settings: Settings, command: Sequence[str], device: str) -> None:
        """Makes the folder and records what was asked; a continuation checks that it asks the same.

        Args:
            settings: of the run.
            command: as typed.
            device: the title of what networks run on.

        Raises:
            UnwritableError: the folder cannot be written.
            MismatchError: the run in the folder was asked for something else; lists the flags.
        """
        if (self.path / "config.json").is_file():
            self._check_same(settings)
        self._make(self.path)
        self.write_json("config.json", settings.to_json())
        for name in ("checkpoint", "plans", "tb"):
            self._make(self.path / name)
        self._read_metrics()
        self.write_json("versions.json", versions(device))
        write_atomically(self.path / "command.txt", (shlex.join(command) + "\n").encode())

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableError(f"cannot create {folder}: {error.strerror}; choose another --out") from error

    def _check_same(self, settings: Settings) -> None:
        before, now = json.loads((self.path / "config.json").read_text(encoding="utf-8")), settings.to_json()
        other = [name for name in now if name not in PER_RUN and before.get(name) != now[name]]
        if other:
            told = ", ".join(f"{flag_name(name)} {before.get(name)}, now {now[name]}" for name in other)
            raise MismatchError(f"the run in {self.path} was started with {told}; give the same or another --out")

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON file with sorted keys."""
        text = json.dumps(content, sort_keys=True, indent=2, allow_nan=False) + "\n"
        write_atomically(self.path / name, text.encode())

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Writes a whole CSV file."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        write_atomically(self.path / name, text.getvalue().encode())

    def save_plan(self, document: Document, name: str = "plan.json") -> None:
        """Writes a plan, by default the best so far."""
        save(document, self.path / name)

    def start_phase(self, phase: str) -> None:
        """Notes the time of the phase before; metrics from here on belong to the new one."""
        self.end_phase()
        self._phase, self._begun = phase, (time.monotonic(), time.process_time())

    def end_phase(self) -> None:
        """Notes how long the phase in hand took."""
        if self._phase:
            taken = time.monotonic() - self._begun[0], time.process_time() - self._begun[1]
            self._append("timing.csv", TIMING_COLUMNS, [(self._phase, *(f"{seconds:.2f}" for seconds in taken))])
        self._phase = ""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Appends metrics of the phase in hand, one row each; a continued run writes none twice."""
        rows = [(self._phase, str(step), name, repr(float(value))) for name, value in values.items()]
        fresh = [row for row in rows if row[:3] not in self._written]
        self._append("metrics.csv", METRIC_COLUMNS, fresh)
        self._written.update(row[:3] for row in fresh)

    def _read_metrics(self) -> None:
        """Drops a last row that was cut short, and notes which rows there are."""
        file = self.path / "metrics.csv"
        if not file.is_file():
            return
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [row for row in csv.reader(line for line in lines if line.endswith("\n")) if len(row) == 4]
        self.write_table("metrics.csv", METRIC_COLUMNS, whole[1:])
        self._written = {(row[0], row[1], row[2]) for row in whole[1:]}

    def _append(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        file = self.path / name
        new = not file.is_file()
        try:
            with file.open("a", encoding="utf-8", newline="") as text:
                writer = csv.writer(text, lineterminator="\n")
                writer.writerows([columns, *rows] if new else rows)
        except OSError as error:
            raise UnwritableError(f"cannot write {file}: {error.strerror}; free space, then use --resume") from error


def given_command(program: str) -> list[str]:
    """Returns the command line as it was typed."""
    return ["python", "-m", program, *sys.argv[1:]]


def threads(count: int = 2) -> int:
    """Returns how many threads a command computes with: `count`, at most $OMP_NUM_THREADS and the processors."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(min(count, os.cpu_count() or 1, int(asked) if asked.isdigit() else count), 1)
