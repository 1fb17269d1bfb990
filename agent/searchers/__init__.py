"""The searchers: one file each, one protocol, one registry."""

from agent.searchers import amc, haq, nsga2, rules, tpe
from agent.searchers.composite import CompositeSearcher
from agent.searchers.greedy import GreedySearcher
from agent.searchers.ilp import IlpSearcher
from agent.searchers.protocol import MeasuringSearcher, Searcher
from agent.searchers.random_ import RandomSearcher
from agent.searchers.scored import ScoredSearcher
from plan.errors import InvalidValueError
from plan.registry import Registry

SEARCHERS: Registry[Searcher] = Registry("searcher")
SEARCHERS.register("composite", CompositeSearcher())
SEARCHERS.register("random", RandomSearcher())
SEARCHERS.register("greedy", GreedySearcher())
SEARCHERS.register("ilp", IlpSearcher())
SEARCHERS.register("nsga2", ScoredSearcher(nsga2.explore, most_plans=10_000))
SEARCHERS.register("tpe", ScoredSearcher(tpe.explore, most_plans=200))
SEARCHERS.register("amc", ScoredSearcher(amc.explore, most_plans=amc.PUBLISHED.episodes))
SEARCHERS.register("haq", ScoredSearcher(haq.explore, most_plans=haq.PUBLISHED.episodes))
SEARCHERS.register("rules", ScoredSearcher(rules.explore, most_plans=len(rules.LADDER)))


def measuring_searchers() -> list[str]:
    """Returns the names of the searchers that can search by measured accuracy alone."""
    return [name for name in SEARCHERS if isinstance(SEARCHERS.get(name), MeasuringSearcher)]


def measuring_searcher(name: str) -> MeasuringSearcher:
    """Returns a searcher that can search by measured accuracy alone.

    Raises:
        InvalidValueError: the searcher needs predictions.
    """
    found = SEARCHERS.get(name)
    if not isinstance(found, MeasuringSearcher):
        allowed = ", ".join(measuring_searchers())
        raise InvalidValueError(f"--measured-only: {name} searches on predictions (allowed: {allowed})")
    return found
