"""The searchers by name: one file each, one protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agent.searchers import amc, haq, nsga2, rules, tpe
from agent.searchers.composite import CompositeSearcher
from agent.searchers.greedy import GreedySearcher
from agent.searchers.ilp import IlpSearcher
from agent.searchers.protocol import MeasuringSearcher, Searcher
from agent.searchers.random_ import RandomSearcher
from agent.searchers.scored import ScoredSearcher
from plan.errors import InvalidValueError
from plan.registry import Registry

SEARCHERS: Registry[Callable[[], Searcher]] = Registry("searcher")
"""Makers of searchers: one searcher is one search."""
SEARCHERS.register("composite", CompositeSearcher)
SEARCHERS.register("random", RandomSearcher)
SEARCHERS.register("greedy", GreedySearcher)
SEARCHERS.register("ilp", IlpSearcher)
SEARCHERS.register("nsga2", partial(ScoredSearcher, nsga2.explore, most_plans=10_000))
SEARCHERS.register("tpe", partial(ScoredSearcher, tpe.explore, most_plans=200))
SEARCHERS.register("amc", partial(ScoredSearcher, amc.explore, most_plans=amc.PUBLISHED.episodes))
SEARCHERS.register("haq", partial(ScoredSearcher, haq.explore, most_plans=haq.PUBLISHED.episodes))
SEARCHERS.register("rules", partial(ScoredSearcher, rules.explore, most_plans=len(rules.LADDER)))


def new_searcher(name: str) -> Searcher:
    """Returns a searcher that has not searched yet.

    Raises:
        UnknownNameError: no searcher of that name.
    """
    return SEARCHERS.get(name)()


def measuring_searchers() -> list[str]:
    """Returns the names of the searchers that can search by measured accuracy alone."""
    return [name for name in SEARCHERS if isinstance(new_searcher(name), MeasuringSearcher)]


def measuring_searcher(name: str) -> MeasuringSearcher:
    """Returns a searcher that can search by measured accuracy alone.

    Raises:
        InvalidValueError: the searcher needs predictions.
    """
    found = new_searcher(name)
    if not isinstance(found, MeasuringSearcher):
        allowed = ", ".join(measuring_searchers())
        raise InvalidValueError(f"--measured-only: {name} searches on predictions (allowed: {allowed})")
    return found
