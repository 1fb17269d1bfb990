"""Cells of the arena filled side by side, each by a process of one thread, so that tables do not depend on how many."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.config import Settings
from experiments.cells import RESULT, Cell, Stage, open_stage, run_cell
from experiments.contestants import contestants
from experiments.sweep_cell import ONE_THREAD
from plan.errors import EspalierError


@dataclass(frozen=True)
class Bout:
    """A cell to be filled: the contestant by its title."""

    net: str
    contestant: str
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / RESULT).is_file()

    def __str__(self) -> str:
        return f"{self.net} {self.contestant} seed {self.seed}"


Tell = Callable[[int, int, Bout, Cell], None]


def fill(settings: Settings, bouts: Sequence[Bout], workers: int, answers: Path, tell: Tell) -> None:
    """Runs the cells that are missing; their network is made ready here first, so that processes find it cached.

    Args:
        settings: of a search on the network.
        bouts: cells of one network, in the order in which they are begun.
        workers: processes.
        answers: folder of what measured plans answered, shared by all of them.
        tell: told of every cell as it ends, with how many have ended and how many there are to fill.

    Raises:
        EspalierError: a network that cannot be used, a cell that failed, or a process that was killed.
    """
    missing = [bout for bout in bouts if not bout.done]
    if not missing:
        return
    open_stage(settings, answers)
    context = multiprocessing.get_context("spawn")
    with _one_thread(), ProcessPoolExecutor(min(workers, len(missing)), context) as pool:
        running = {pool.submit(_filled, settings, bout, answers): bout for bout in missing}
        try:
            for number, ended in enumerate(as_completed(running), start=1):
                found = ended.result()
                if isinstance(found, str):
                    raise EspalierError(f"{running[ended]}: {found}")
                tell(number, len(missing), running[ended], found)
        except BrokenProcessPool as error:
            raise EspalierError(
                "a process of the arena was killed, perhaps for memory; start again with fewer --workers: "
                "cells that ended are kept, and others go on"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets processes that begin inside compute with one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _filled(settings: Settings, bout: Bout, answers: Path) -> Cell | str:
    """Returns a cell after running it in this process, or what stood in its way, in words."""
    try:
        return run_cell(_stage(settings, answers), contestants().get(bout.contestant), bout.seed, bout.folder)
    except EspalierError as error:
        return str(error)


@functools.lru_cache(maxsize=1)
def _stage(settings: Settings, answers: Path) -> Stage:
    """Returns a network made ready once for all cells that a process fills."""
    return open_stage(settings, answers)
