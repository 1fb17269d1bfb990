"""Hand-written rules of thumb: one strength for the whole network, the delicate layers left alone.

First and last layer stay dense at the baseline's bits, depthwise layers unpruned at six bits or more; all others get
the same bits and the same density of the finest granularity that the hardware offers. Strength is a ladder of such
settings from mild to strong, as practitioners try them by hand.
"""

from __future__ import annotations

import numpy as np

from agent.searchers.scored import Scorer
from plan.budget import Budget
from plan.scheme import Element, NofM
from plan.space import ACTIVATION_BITS, DENSITIES, DENSITY, METHOD, WEIGHT_BITS, Choices, Space

LADDER = tuple(
    (weight, activation, density)
    for weight, activation in (
        (8, 8),
        (7, 8),
        (6, 8),
        (6, 7),
        (6, 6),
        (5, 6),
        (5, 5),
        (4, 6),
        (4, 5),
        (4, 4),
        (3, 4),
        (2, 4),
    )
    for density in (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
)
LEAST_DEPTHWISE_BITS = 6


def explore(scorer: Scorer, limits: Budget, seed: int) -> None:
    """Scores the ladder by rising saving, halving the part that may hold the strongest plan within limits."""
    plans = ladder(scorer.problem.space)
    objective = scorer.problem.objective_value(scorer.problem.evaluate(plans))
    order = np.argsort(-objective, kind="stable")
    low, high = 0, len(order) - 1
    visited: list[int] = []
    while low <= high and scorer.left > 0:
        middle = (low + high) // 2
        visited.append(middle)
        kept = scorer.score(plans[order[middle]][None]).violation(limits)[0] == 0.0
        low, high = (middle + 1, high) if kept else (low, middle - 1)
    rest = [place for place in range(len(order)) if place not in visited]
    for place in sorted(rest, key=lambda place: (abs(place - low), place)):
        if scorer.left <= 0:
            return
        scorer.score(plans[order[place]][None])


def ladder(space: Space) -> Choices:
    """Returns one plan per rung, int16 (n, L, 4), duplicates left out."""
    plans = np.stack([_uniform(space, *rung) for rung in LADDER])
    _, first = np.unique(plans, axis=0, return_index=True)
    return np.asarray(plans[np.sort(first)])


def _uniform(space: Space, weight_bits: int, activation_bits: int, density: float) -> Choices:
    """Returns the plan of one setting for all layers but the delicate ones."""
    plan = space.start.copy()
    for layer in range(1, space.n_layers - 1):
        depthwise = space.network.layers[layer].depthwise
        least = LEAST_DEPTHWISE_BITS if depthwise else 0
        plan[layer, WEIGHT_BITS] = _width(
            space.weight_bits, space.weight_bits_legal[layer], max(weight_bits, least), int(plan[layer, WEIGHT_BITS])
        )
        plan[layer, ACTIVATION_BITS] = _width(
            space.activation_bits,
            space.activation_bits_legal[layer],
            max(activation_bits, least),
            int(plan[layer, ACTIVATION_BITS]),
        )
        if density < 1.0 and not depthwise:
            plan[layer, METHOD], plan[layer, DENSITY] = _pruned(space, layer, density)
    plan[:, ACTIVATION_BITS] = plan[space.deciders.reader, ACTIVATION_BITS]
    return plan


def _width(widths: tuple[int, ...], legal: np.ndarray[tuple[int], np.dtype[np.bool_]], wanted: int, own: int) -> int:
    """Returns the index of the narrowest legal width of so many bits or more, the layer's own where there is none."""
    return next((index for index, width in enumerate(widths) if width >= wanted and legal[index]), own)


def _pruned(space: Space, layer: int, density: float) -> tuple[int, int]:
    """Returns method and density: single weights where the hardware has them, else n:m, else dense."""
    for kind in (Element, NofM):
        for method, found in enumerate(space.methods):
            legal = np.flatnonzero(space.legal[layer, method])
            if isinstance(found.granularity, kind) and len(legal):
                return method, int(legal[np.abs(DENSITIES[legal] - density).argmin()])
    return 0, len(DENSITIES) - 1
