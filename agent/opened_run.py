"""A run folder opened to answer questions: its problem, what it measured and its agent, nothing trained or measured."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.config import Settings
from agent.preflight import check_hardware
from agent.problem_file import load_problem
from agent.refine import fitted
from envs.accuracy.archive import Archive, Measurement
from envs.accuracy.early_stop import Answers
from envs.problem import Problem
from plan.document import Document, load
from plan.errors import FileFormatError, MismatchError, MissingFileError
from plan.scheme import Scheme

AGENTS, EVALUATIONS = ("adapted.zip", "agent.zip"), "evaluations.jsonl"
"""The agent after its measured phase is asked first."""


@dataclass(frozen=True)
class RecordedMeasure:
    """Stands in for the measure of a run: all that it can answer stands in the run's archive."""

    images_id: str

    def dense(self, images: int) -> NDArray[np.bool_]:
        """Raises MismatchError: the run did not record the network's own answers."""
        raise MismatchError(f"the run did not record the network's answers to {images} images; continue it once")

    def correct(self, schemes: Sequence[Scheme], images: int) -> NDArray[np.bool_]:
        """Raises MismatchError: nothing is measured here."""
        raise MismatchError(f"a plan of {len(schemes)} layers was not measured on {images} images by the run")

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Raises MismatchError: nothing is measured here."""
        return Answers(self.correct(schemes, images), images)


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """What a run left.

    Attributes:
        folder: of the run.
        settings: what was asked, with the objective and the limits of the question.
        problem: under that objective, its calibration fitted to every measured plan.
        measured: measured plans, each on the most images that it was measured on.
        template: a plan of the run, whose network, hardware, data and baseline hold for every answer.
    """

    folder: Path
    settings: Settings
    problem: Problem
    archive: Archive
    template: Document

    @property
    def measured(self) -> tuple[Measurement, ...]:
        """Every measured plan once, on the most images that it was measured on."""
        most: dict[bytes, Measurement] = {}
        for entry in self.archive.complete():
            key = entry.choice.tobytes()
            if key not in most or most[key].images < entry.images:
                most[key] = entry
        return tuple(most.values())


def read_settings_of(folder: Path) -> Settings:
    """Returns what a run was asked.

    Raises:
        MissingFileError: the folder holds no run.
        FileFormatError: its config.json is none.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise MissingFileError(f"{folder} holds no run (no config.json); give the --out of agent.train")
    try:
        return Settings.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise FileFormatError(str(file), [f"not the settings of a run ({error})"]) from error


def open_run(folder: Path, settings: Settings) -> OpenedRun:
    """Returns a run opened for a question.

    Args:
        folder: of the run.
        settings: of the run, with the objective and the limits of the question.

    Raises:
        EspalierError: a run that stopped before it measured, or whose hardware has changed.
    """
    template = _template(folder)
    accelerator = check_hardware(settings.hw, settings.baseline_bits)
    problem = load_problem(folder / "checkpoint", accelerator, settings.restrictions, settings.objective)
    archive = open_archive(folder, problem)
    effort = template["made_by"]["config"]["effort"]
    problem = fitted(problem, archive, effort["search_images"])
    archive.problem = problem
    return OpenedRun(folder, settings, problem, archive, template)


def open_archive(folder: Path, problem: Problem) -> Archive:
    """Returns what a run measured, read from a copy, so that a run in progress is not disturbed."""
    file = folder / "checkpoint" / EVALUATIONS
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist; the run has measured nothing, continue it with --resume")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copy(file, place))
        first = copy.read_text(encoding="utf-8").partition("\n")[0]
        try:
            images_id = json.loads(first)["images_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(str(file), [f"not an archive of measurements ({error})"]) from error
        archive = Archive(problem, RecordedMeasure(images_id), copy)
        archive.path = None
    return archive


def _template(folder: Path) -> Document:
    """Returns the run's plan, or one of its frontier where no plan kept the limits."""
    found = [file for file in (folder / "plan.json", *sorted((folder / "plans").glob("*.json"))) if file.is_file()]
    if not found:
        raise MissingFileError(f"{folder} holds no plan yet; continue the run with --resume")
    return load(found[0])


def with_question(settings: Settings, objective: str | None, limits: dict[str, float | None]) -> Settings:
    """Returns a run's settings with another objective and limits; cost limits that are not asked for are lifted.

    Raises:
        InvalidValueError: a limit out of range.
    """
    default = {"max_drop": settings.max_drop}
    asked = {name: default.get(name, float("inf")) if value is None else value for name, value in limits.items()}
    return replace(settings, objective=objective or settings.objective, **asked)  # type: ignore[arg-type]
