"""Where the cells of a sweep run: processes of this machine, or a Ray cluster. Both start cells the same way."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import search
from experiments.sweep_cell import (
    FAILED,
    KILLED_AGAIN,
    ONE_THREAD,
    Cell,
    Ended,
    Outcome,
    asked_row,
    finished,
    keep_files,
    run_cell,
    start_process,
)
from plan.errors import EspalierError, MissingExtraError

REPOSITORY = Path(__file__).resolve().parent.parent
PASSED_ON = ("ESPALIER_CACHE",)
"""Variables of the environment that reach the nodes of a cluster."""


@dataclass(frozen=True)
class Places:
    """How many cells run at a time on this machine, and the address of the cluster (None: one of its own)."""

    workers: int
    address: str | None = None


def on_processes(cells: Sequence[Cell], out: Path, places: Places) -> Iterator[Outcome]:
    """Yields the outcomes as cells end, `workers` at a time, each in a process of its own."""
    with ThreadPoolExecutor(places.workers) as pool:
        running = [pool.submit(run_cell, cell, out / cell.name, start_process) for cell in cells]
        try:
            for ended in as_completed(running):
                yield ended.result()
        finally:
            for waiting in running:
                waiting.cancel()


def on_ray(cells: Sequence[Cell], out: Path, places: Places) -> Iterator[Outcome]:
    """Yields the outcomes as cells end on a Ray cluster, one processor each; what a lost node ran is run again.

    Raises:
        MissingExtraError: Ray is not installed.
        EspalierError: no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--backend ray needs Ray; install it with: pip install 'espalier[sweep]'") from error
    joined = not ray.is_initialized()
    if joined:
        _join(ray, places.address)
    task = ray.remote(num_cpus=1, max_calls=1, max_retries=KILLED_AGAIN - 1)(_on_node)
    try:
        yield from _collect(ray, task.options(runtime_env=_environment()), cells, out)
    finally:
        if joined:
            ray.shutdown()


def _join(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EspalierError(f"no Ray cluster at '{address}': {told}; start one with 'ray start --head'") from error


def _collect(ray: Any, task: Any, cells: Sequence[Cell], out: Path) -> Iterator[Outcome]:
    waiting = {}
    for cell in cells:
        before = finished(cell, out / cell.name)
        if before is not None:
            yield before
        else:
            waiting[task.remote(cell, str(out / cell.name))] = cell
    while waiting:
        ready, _ = ray.wait(list(waiting))
        for reference in ready:
            cell = waiting.pop(reference)
            try:
                outcome: Outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                told = str(error).strip().splitlines()
                row = {**asked_row(cell), "status": FAILED, "error": told[-1] if told else type(error).__name__}
                outcome = Outcome(cell.name, row)
            keep_files(outcome, out / cell.name)
            yield outcome


def _on_node(cell: Cell, folder: str) -> Outcome:
    """Runs a cell inside a worker of the cluster; when the worker dies, the run dies with it and is continued."""
    return run_cell(cell, Path(folder), _start_here)


def _start_here(words: list[str]) -> Ended:
    """Runs agent.search in this process, a worker that runs one cell; told is its stderr."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        status = search.main(words)
    return Ended(status, told.getvalue(), time.process_time())


def _environment() -> dict[str, Any]:
    """Returns the environment of the workers: this checkout on the path, one thread, the same cache."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"env_vars": {"PYTHONPATH": path, **ONE_THREAD, **passed}}


Backend = Callable[[Sequence[Cell], Path, Places], Iterator[Outcome]]
BACKENDS: dict[str, Backend] = {"process": on_processes, "ray": on_ray}
