"""NSGA-II (Deb et al. 2002) on objective and drop, by pymoo.

Settings as published: simulated binary crossover with probability 0.9 and index 20, polynomial mutation with
probability 1 / variables and index 20, a population of 100, less where fewer than five generations would be left.
"""

from __future__ import annotations

import numpy as np

from agent.searchers.extra import needs
from agent.searchers.genome import decode, encode
from agent.searchers.scored import Scorer
from plan.assignment import FloatArray
from plan.budget import Budget

POPULATION, GENERATIONS = 100, 5
CROSSOVER, INDEX = 0.9, 20
SMALLEST_POPULATION = 4


def explore(scorer: Scorer, limits: Budget, seed: int) -> None:
    """Breeds plans until nothing is left; the first population is random, the warm start first where there is one."""
    needs("pymoo", "nsga2")
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem as Empty
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.problems.static import StaticProblem

    space, rng = scorer.problem.space, np.random.default_rng(seed)
    size = min(POPULATION, max(scorer.left // GENERATIONS, SMALLEST_POPULATION))
    variables = 4 * space.n_layers
    first = rng.random((size, variables))
    known = encode(space, scorer.warm)
    first[: min(len(known), size)] = known[_spread(len(known), size)]
    algorithm = NSGA2(
        pop_size=size,
        sampling=first,
        crossover=SBX(prob=CROSSOVER, eta=INDEX),
        mutation=PM(prob=1.0, prob_var=1.0 / variables, eta=INDEX),
    )
    empty = Empty(n_var=variables, n_obj=2, n_ieq_constr=1, xl=0.0, xu=1.0)
    algorithm.setup(empty, seed=seed, termination=("n_gen", 10**9), verbose=False)
    while scorer.left > 0:
        offspring = algorithm.ask()
        values, broken = _scored(scorer, offspring.get("X"), limits)
        Evaluator().eval(StaticProblem(empty, F=values, G=broken), offspring)
        algorithm.tell(infills=offspring)


def _spread(count: int, wanted: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns up to `wanted` rows of `count`, evenly spread."""
    return np.linspace(0, max(count - 1, 0), min(count, wanted)).round().astype(np.int64)


def _scored(scorer: Scorer, genomes: FloatArray, limits: Budget) -> tuple[FloatArray, FloatArray]:
    """Returns objective and drop (B, 2), and by how much limits on costs are broken (B, 1)."""
    scores = scorer.score(decode(scorer.problem.space, genomes))
    costs_only = Budget(energy_uj=limits.energy_uj, latency_ms=limits.latency_ms, size_kb=limits.size_kb)
    return np.column_stack((scores.objective, scores.drop_points)), scores.violation(costs_only)[:, None]
