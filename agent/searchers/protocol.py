"""What every searcher is given, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.measuring import Measuring
from agent.searchers.resumable import State
from envs.accuracy.archive import Archive, Measurement
from envs.problem import Problem
from plan.budget import Budget
from plan.space import Choices


@dataclass(frozen=True)
class Stop:
    """When to stop: layer decisions that an agent trains on, measured evaluations, and a time of `time.monotonic`."""

    steps: int
    evaluations: int
    deadline: float | None = None


class Observer(Protocol):
    """Learns how a search is going."""

    def progress(self, phase: str, done: int, total: int) -> None:
        """Is told how far a phase is, in its own units."""

    def record(self, name: str, values: dict[str, float], step: int) -> None:
        """Is told figures of a phase, at a step of its own counting."""

    def improved(self, best: Measurement) -> None:
        """Is told the best measured plan that keeps the limits, whenever there is a better one."""


class Searcher(Protocol):
    """Proposes plans for a problem without measuring any.

    A search that was interrupted goes on in a new searcher that is given its state and asked the same: it ends in the
    same candidates. A searcher that keeps files in the run's folder has its state there.
    """

    def state(self) -> State:
        """Returns arrays by name from which an interrupted search goes on, none where it begins again."""

    def restore(self, state: State) -> None:
        """Lets the next search go on from such arrays."""

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns legal candidate plans, int16 (N, L, 4), spread over the predicted frontier.

        Args:
            problem: scores plans as predicted.
            limits: what the plan finally chosen must keep; candidates may lie on both sides.
            stop: when to stop.
            seed: of everything random.
            observer: is told about progress.
        """


@runtime_checkable
class AdaptingSearcher(Protocol):
    """Learns from a few measured plans after its search."""

    def adapt(
        self,
        problem: Problem,
        archive: Archive,
        candidates: Choices,
        limits: Budget,
        *,
        measuring: Measuring,
        plans: int,
        seed: int,
    ) -> Choices:
        """Returns the candidates joined by new ones, int16 (N, L, 4).

        Args:
            problem: scores plans as predicted.
            archive: measures, counts and keeps plans.
            candidates: of the search.
            limits: about which plans are measured.
            measuring: what may be spent.
            plans: how many may be measured.
            seed: of everything random.
        """


@runtime_checkable
class MeasuringSearcher(Protocol):
    """Searches by measured accuracy alone, as searchers without a proxy were published."""

    def measure(self, archive: Archive, limits: Budget, *, measuring: Measuring, seed: int, observer: Observer) -> None:
        """Measures plans until nothing is left to spend; they are in the archive.

        Args:
            archive: measures, counts and keeps plans.
            limits: what the plan finally chosen must keep.
            measuring: what may be spent.
            seed: of everything random.
            observer: is told about progress.
        """


class Silent:
    """An observer that keeps everything to itself."""

    def progress(self, phase: str, done: int, total: int) -> None:
        """Does nothing."""

    def record(self, name: str, values: dict[str, float], step: int) -> None:
        """Does nothing."""

    def improved(self, best: Measurement) -> None:
        """Does nothing."""
