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
from plan.errors import InvalidValueError
from plan.registry import Registry

ALONE = "A"
SHARED = "B"
"""A: measured evaluations only, as published. B: the same predictions, warm start and refinement as the agent."""


GROUPS, EVERYBODY = ("rivals", "learners", "ablations"), "all"
"""Names that stand for several: the agent and its rivals in both modes, single learners, the agent without a part."""


@dataclass(frozen=True)
class Contestant:
    """One way to search.

    Attributes:
        name: of the searcher.
        mode: A or B.
        make: returns the searcher for a folder of its own; asked in mode B alone.
        measured_phase: whether the agent's measured phase takes place.
        group: one of `GROUPS`.
    """

    name: str
    mode: str
    make: Callable[[Path], Searcher]
    measured_phase: bool = True
    group: str = "rivals"

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
    everybody.append(Contestant("ppo-alone", SHARED, _composite(ppo_alone(hyper)), group="learners"))
    everybody += [Contestant(f"{name}-alone", SHARED, _single(name), group="learners") for name in ALGORITHMS]
    everybody += [
        replace(each, group="ablations")
        for each in (
            Contestant("no-masking", SHARED, _composite(replace(hyper, masked=False))),
            Contestant("no-conditioning", SHARED, _composite(hyper, conditioned=False)),
            Contestant("no-measured-phase", SHARED, _composite(hyper), measured_phase=False),
            Contestant("no-warm-start", SHARED, _composite(replace(hyper, warm_start=False))),
        )
    ]
    for each in everybody:
        found.register(each.title, each)
    return found


def asked_for(text: str | None, net: str) -> list[str]:
    """Returns the titles that meet on a network, each once.

    Args:
        text: titles and groups separated by commas, for one network alone after NET=; None for everybody.
        net: the network.

    Raises:
        UnknownNameError: nobody is called so.
        InvalidValueError: it names nobody for the network.
    """
    entries = [entry.rpartition("=") for entry in (text or EVERYBODY).split(",")]
    found = [title for where, _, name in entries if where in ("", net) for title in _titles(name)]
    if not found:
        raise InvalidValueError(f"--contestants {text} names nobody for {net}")
    return list(dict.fromkeys(found))


def _titles(name: str) -> list[str]:
    everybody = contestants()
    if name == EVERYBODY:
        return everybody.names()
    if name in GROUPS:
        return [title for title in everybody if everybody.get(title).group == name]
    return [everybody.get(name).title]
