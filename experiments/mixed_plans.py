"""Random plans of every granularity, density and width, from nearly dense to ruined."""

from __future__ import annotations

import numpy as np

from envs.problem import Problem
from plan.assignment import FloatArray
from plan.space import UNDECIDED, Choices, Space

MILDEST, HARSHEST = 0.03, 0.9
FEWEST_CHANGED = 0.2


def mixed_plans(space: Space, rng: np.random.Generator, plans: int) -> Choices:
    """Returns random legal plans, int16 (plans, L, 4).

    A plan draws a harshness h in [0.03, 0.9] and a share of layers in [0.2, 1] that are pruned at all, each by a method
    drawn uniformly; densities and bits are drawn uniformly from the upper share h of what each layer offers.
    """
    choices = np.full((plans, space.n_layers, 4), UNDECIDED, dtype=np.int16)
    harshness = rng.uniform(MILDEST, HARSHEST, (plans, 1))
    changed = rng.uniform(FEWEST_CHANGED, 1.0, plans)
    for layer in range(space.n_layers):
        mask = space.method_mask(choices, layer)
        drawn = np.argmax(rng.random(mask.shape) * mask, axis=1)
        methods = np.where(rng.random(plans) < changed, drawn, 0)
        choices[:, layer] = space.from_unit(layer, methods, 1.0 - harshness * rng.random((plans, 3)), choices)
    return choices


def spread_plans(problem: Problem, rng: np.random.Generator, plans: int, drops: FloatArray) -> Choices:
    """Returns for every wanted drop in points the unused one of `plans` mixed plans that is predicted nearest to it.

    The order is random, so that any first part is spread as well. int16 (len(drops), L, 4).
    """
    pool = mixed_plans(problem.space, rng, plans)
    predicted = np.log(np.maximum(problem.evaluate(pool).drop_points, 1e-6))
    picked: list[int] = []
    for wanted in np.log(drops):
        distance = np.abs(predicted - wanted)
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
    chosen: Choices = pool[rng.permutation(picked)]
    return chosen
