"""A search of a problem, and the folder that it leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from agent.pipeline import Pipeline
from agent.preflight import check_hardware
from agent.report_content import run_plan
from agent.run_folder import RunFolder, choose_folder
from espalier.plans import Plan
from espalier.problems import Problem
from plan.command import DONE
from plan.errors import MissingFileError


@dataclass(frozen=True)
class Run:
    """A run folder, finished or not; `search` returns one, `Run(path)` opens one."""

    folder: Path

    @property
    def plan(self) -> Plan:
        """The best plan within the limits so far.

        Raises:
            MissingFileError: the run has no plan yet.
        """
        return Plan(run_plan(self.folder))

    @property
    def frontier(self) -> pd.DataFrame:
        """The measured plans that none beats in both drop and objective (1.0 = dense at baseline bits)."""
        return self._table("frontier.csv")

    @property
    def metrics(self) -> pd.DataFrame:
        """What the run logged: phase, step, metric, value; docs/metrics.md says what each metric is."""
        return self._table("metrics.csv")

    @property
    def fidelity(self) -> dict[str, Any]:
        """Predicted and measured drops of held-out plans in points, and their rank correlations with intervals."""
        return dict(json.loads(self._file("fidelity.json").read_text(encoding="utf-8")))

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self._file("report.html")

    def frontier_plan(self, row: int) -> Plan:
        """Returns the plan of a row of `frontier`."""
        return Plan.load(self.folder / str(self.frontier["plan"].iloc[row]))

    def _table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self._file(name))

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise MissingFileError(
                f"{path} does not exist; is {self.folder} a run folder, and has the run come so far?"
            )
        return path


def search(
    task: Problem,
    *,
    method: str = "composite",
    steps: int | None = None,
    evaluations: int | None = None,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    show: bool = False,
) -> Run:
    """Returns the finished run of a searcher on a problem; the composite agent is trained unless another is named.

    Args:
        task: what to search.
        method: who searches, as `--method` of agent.search.
        steps: layer decisions that the agent trains on, None for as many as the network asks for.
        evaluations: plans measured during the search, likewise.
        seed: of everything random; the same seed gives the same plan, byte for byte.
        out: run folder, None for a new one in `runs/`.
        resume: whether to continue the run in `out`.
        show: whether to show progress.

    Raises:
        InfeasibleError: no plan keeps the limits.
        EspalierError: anything else that the caller can mend.
        KeyboardInterrupt: stopped; what the run measured stays in its folder.
    """
    words = ["--method", method, "--seed", str(seed)]
    words += [] if steps is None else ["--steps", str(steps)]
    words += [] if evaluations is None else ["--evaluations", str(evaluations)]
    words += [] if out is None else ["--out", str(out)]
    settings = task.settings(*words, *["--resume"] * resume, *["--quiet"] * (not show))
    accelerator = check_hardware(settings.hw, settings.baseline_bits)
    folder = RunFolder(choose_folder(settings))
    status = Pipeline(settings, accelerator, folder, Console()).run(settings.command().split())
    if status != DONE:
        raise KeyboardInterrupt
    return Run(folder.path)
