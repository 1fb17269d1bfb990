"""The searchers: one file each, one protocol, one registry."""

from agent.searchers.composite import CompositeSearcher
from agent.searchers.greedy import GreedySearcher
from agent.searchers.ilp import IlpSearcher
from agent.searchers.protocol import Searcher
from agent.searchers.random_ import RandomSearcher
from plan.registry import Registry

SEARCHERS: Registry[Searcher] = Registry("searcher")
SEARCHERS.register("composite", CompositeSearcher())
SEARCHERS.register("random", RandomSearcher())
SEARCHERS.register("greedy", GreedySearcher())
SEARCHERS.register("ilp", IlpSearcher())
