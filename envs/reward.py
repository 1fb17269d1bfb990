"""What an episode is paid for: the objective plus the exchange rate times the error, as a potential.

The sum of an episode's rewards is the potential of the start minus the potential of the plan, exactly.
"""

from __future__ import annotations

import numpy as np

from envs.problem import Problem
from plan.assignment import FloatArray

LOWEST_RATE, HIGHEST_RATE = 1e-3, 1e3
SEARCH_DECADES = np.linspace(-9.0, 9.0, 73)


def draw_rates(rng: np.random.Generator, envs: int) -> FloatArray:
    """Returns exchange rates, (envs,), log-uniform between the lowest and the highest rate."""
    return np.exp(rng.uniform(np.log(LOWEST_RATE), np.log(HIGHEST_RATE), envs))


def potential(problem: Problem, totals: FloatArray, rates: FloatArray, error_scale: float) -> FloatArray:
    """Returns what is to be minimised, (B,): relative objective + rate * error / error_scale.

    Args:
        problem: gives the objective.
        totals: (B, 4) energy_uj, latency_ms, size_kb and error.
        rates: (B,) exchange rates.
        error_scale: error that a rate of 1 trades for the whole baseline objective, nats.
    """
    return problem.relative(totals[:, :3]) + rates * totals[:, 3] / error_scale


def linear_objective(problem: Problem) -> FloatArray:
    """Returns the objective's slope by energy, latency and size at the start, (3,), relative to the baseline."""
    start = problem.start.costs()
    return np.asarray(problem.weights * problem.relative(start)[0] / start[0])


def find_error_scale(problem: Problem) -> float:
    """Returns the error scale at which a rate of 1 leads half way from the start to the cheapest plan.

    Every layer's own best alternative is taken at 73 rates over 18 decades; where the summed objective passes the
    middle of its range, the inverse of that rate is the scale. A space without errors has scale 1.
    """
    slope = linear_objective(problem)
    rates = 10.0**SEARCH_DECADES
    gained = np.zeros(len(rates))
    for layer in range(problem.space.n_layers):
        metrics = problem.table.undominated_for(layer, slope)
        scores = metrics[:, 0] + rates[:, None] * metrics[:, 1]
        gained += metrics[scores.argmin(axis=1), 0]
    middle = (gained.min() + gained.max()) / 2
    return float(1.0 / rates[np.argmax(gained >= middle)]) if gained.max() > gained.min() else 1.0
