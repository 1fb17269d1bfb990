"""Who meets in the arena: searchers in two modes, single learners, and the composite agent without one of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agent.hyperparameters import Hyperparameters
from agent.searchers.composite import CompositeSearcher
from agent.searchers.protocol import Searcher
from agent.searchers.registry import SEARCHERS, measuring_searchers, new_searcher
from agent.searchers.single import ALGORITHMS, SingleSearcher, ppo_alone
from plan.registry import Registry

ALONE = "A"
SHARED = "B"
"""A: measured evaluations only, as published. B: the same predictions, warm start and refinement as the agent."""


@dataclass(frozen=True)
class Contestant:
    """One way to search.

    Attributes:
        name: of the searcher.
        mode: A or B.
        make: returns the searcher for a folder of its own; asked in mode B alone.
        measured_phase: whether the agent's measured phase takes place.
    """

    name: str
    mode: str
    make: Callable[[Path], Searcher]
    measured_phase: bool = True

    @property
    def title(self) -> str:
        """Name and mode, `nsga2-A`."""
        return f"{self.name}-{self.mode}"


def _composite(hyper: Hyperparameters, *, conditioned: bool = True) -> Callable[[Path], Searcher]:
    return lambda folder: CompositeSearcher(hyper, folder=folder, conditioned=conditioned)


def _registered(name: str) -> Callable[[Path], Searcher]:
    return lambda folder: new_searcher(name)


def _single(algorithm: str) -> Callable[[Path], Searcher]:
    return lambda folder: SingleSearcher(algorithm)


def contestants() -> Registry[Contestant]:
    """Returns everybody by title: the agent first, rivals, single learners, then the agent without one of its parts."""
    hyper, found = Hyperparameters(), Registry[Contestant]("contestant")
    everybody = [Contestant("composite", SHARED, _composite(hyper))]
    for name in SEARCHERS:
        if name != "composite":
            everybody.append(Contestant(name, SHARED, _registered(name)))
        if name in measuring_searchers():
            everybody.append(Contestant(name, ALONE, _registered(name)))
    everybody.append(Contestant("ppo-alone", SHARED, _composite(ppo_alone(hyper))))
    everybody += [Contestant(f"{name}-alone", SHARED, _single(name)) for name in ALGORITHMS]
    everybody += [
        Contestant("no-masking", SHARED, _composite(replace(hyper, masked=False))),
        Contestant("no-conditioning", SHARED, _composite(hyper, conditioned=False)),
        Contestant("no-measured-phase", SHARED, _composite(hyper), measured_phase=False),
        Contestant("no-warm-start", SHARED, _composite(replace(hyper, warm_start=False))),
    ]
    for each in everybody:
        found.register(each.title, each)
    return found
