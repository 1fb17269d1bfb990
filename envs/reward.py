"""What an episode is paid for: objective, exchange rate times error, and what breaks limits, as a potential.

The sum of an episode's rewards is the potential of the start minus the potential of the plan, exactly.
"""

from __future__ import annotations

import numpy as np

from envs.conditions import LIMIT_PRICE, Conditions, mixed_objective
from envs.problem import Problem
from plan.assignment import FloatArray

LOWEST_RATE, HIGHEST_RATE = 1e-3, 1e3
SEARCH_DECADES = np.linspace(-9.0, 9.0, 73)


def draw_rates(rng: np.random.Generator, envs: int) -> FloatArray:
    """Returns exchange rates, (envs,), log-uniform between the lowest and the highest rate."""
    return np.exp(rng.uniform(np.log(LOWEST_RATE), np.log(HIGHEST_RATE), envs))


def potential(
    problem: Problem,
    totals: FloatArray,
    conditions: Conditions,
    *,
    error_scales: FloatArray,
    gains: FloatArray,
    to_come: FloatArray | None = None,
) -> FloatArray:
    """Returns what is to be minimised, (B,): objective + rate * error / error_scale + price * excess over the limits.

    Args:
        problem: gives baseline and costs.
        totals: (B, 4) energy_uj, latency_ms, size_kb and error.
        conditions: of the episodes.
        error_scales: (B,) errors that a rate of 1 trades for the whole baseline objective, nats.
        gains: (B,) what the hints gain at each rate; the price of limits is in units of it.
        to_come: (B, 4) what the hints change in the layers to come; limits are held against the sum.
    """
    paid = mixed_objective(problem, totals[:, :3], conditions.mixes)
    paid = paid + conditions.rates * totals[:, 3] / error_scales
    projected = totals if to_come is None else totals + to_come
    return np.asarray(paid + LIMIT_PRICE * gains * conditions.excess(projected))


def linear_objective(problem: Problem, weights: FloatArray | None = None) -> FloatArray:
    """Returns the objective's slope by energy, latency and size at the start, (3,), relative to the baseline.

    Args:
        problem: gives start and baseline.
        weights: exponents of the relative costs, (3,); those of the problem's objective when None.
    """
    start = problem.start.costs()[0]
    if weights is None:
        return np.asarray(problem.weights * problem.relative(start[None])[0] / start)
    return np.asarray(weights * ((start / problem.baseline.costs()[0]) ** weights).prod() / start)


def find_error_scale(problem: Problem, slope: FloatArray | None = None) -> float:
    """Returns the error scale at which a rate of 1 leads half way from the start to the cheapest plan.

    Every layer's own best alternative is taken at 73 rates over 18 decades; where the summed objective passes the
    middle of its range, the inverse of that rate is the scale. A space without errors has scale 1.

    Args:
        problem: gives the table.
        slope: of the objective by energy, latency and size, (3,); that of the problem's when None.
    """
    direction = linear_objective(problem) if slope is None else slope
    rates = 10.0**SEARCH_DECADES
    gained = np.zeros(len(rates))
    for layer in range(problem.space.n_layers):
        metrics = problem.table.undominated(layer, direction).metrics
        objective = metrics[:, :3] @ direction
        gained += objective[(objective + rates[:, None] * metrics[:, 3]).argmin(axis=1)]
    middle = (gained.min() + gained.max()) / 2
    return float(1.0 / rates[np.argmax(gained >= middle)]) if gained.max() > gained.min() else 1.0
