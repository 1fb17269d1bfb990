"""Plans to measure before the search: spread over the drops that matter, near what a search would choose."""

from __future__ import annotations

import numpy as np

from envs.problem import Problem
from envs.reward import find_error_scale, linear_objective
from plan.assignment import FloatArray
from plan.space import ACTIVATION_BITS, METHOD, Choices

RATES = 256
LOWEST_RATE, HIGHEST_RATE = 1e-4, 1e4
JITTER = 0.5
"""Standard deviation of a layer's exchange rate about the plan's, in natural logarithms."""
FIRST_TARGETS = (0.1, 0.4, 1.5, 6.0)
LOWEST_DROP, HIGHEST_DROP = 0.15, 6.0


def additive_plans(problem: Problem, rates: FloatArray) -> Choices:
    """Returns plans whose layers each take their own best alternative, int16 (B, L, 4), for rates (B, L).

    A rate trades the summed error against the linearised objective; `channel` is skipped where the producer of a
    group chose `filter`.
    """
    space, slope, scale = problem.space, linear_objective(problem), find_error_scale(problem)
    choices = np.full((len(rates), space.n_layers, 4), -1, dtype=np.int16)
    for layer in range(space.n_layers):
        options = problem.table.undominated(layer, slope)
        mask = space.method_mask(choices, layer)[:, options.choices[:, METHOD]]
        score = options.metrics[:, :3] @ slope + rates[:, layer, None] * options.metrics[:, 3] / scale
        choices[:, layer] = options.choices[np.where(mask, score, np.inf).argmin(axis=1)]
        reader = int(space.deciders.reader[layer])
        if reader != layer:
            choices[:, layer, ACTIVATION_BITS] = choices[:, reader, ACTIVATION_BITS]
    return choices


def jittered_plans(problem: Problem, rng: np.random.Generator, plans: int) -> Choices:
    """Returns additive plans over the whole range of exchange rates, layers a little off each, int16 (plans, L, 4)."""
    base = np.linspace(np.log(LOWEST_RATE), np.log(HIGHEST_RATE), plans)[:, None]
    return additive_plans(problem, np.exp(base + JITTER * rng.standard_normal((plans, problem.space.n_layers))))


def nearest(problem: Problem, choices: Choices, targets: FloatArray) -> Choices:
    """Returns for every target drop the plan predicted nearest to it, none twice, int16 (n, L, 4)."""
    left = np.maximum(problem.evaluate(choices).drop_points, 1e-6)
    picked: list[int] = []
    for target in targets:
        distance = np.abs(np.log(left / target))
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
    return choices[picked]
