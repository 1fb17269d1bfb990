"""Which of many candidate plans are worth handing on: the predicted frontier, thinned."""

from __future__ import annotations

import numpy as np

from envs.pareto import undominated
from envs.problem import Problem
from plan.space import Choices

MOST_CANDIDATES = 128
CHUNK = 2048


def predicted_frontier(problem: Problem, plans: Choices, most: int = MOST_CANDIDATES) -> Choices:
    """Returns the plans that none beats in both predicted error and objective, by rising objective.

    At most `most` of them, spread evenly over the frontier.

    Args:
        problem: scores the plans.
        plans: legal plans, int16 (N, L, 4).
        most: how many to keep.
    """
    parts = [problem.evaluate(plans[start : start + CHUNK]) for start in range(0, len(plans), CHUNK)]
    objective = np.concatenate([problem.objective_value(part) for part in parts])
    error = np.concatenate([part.error for part in parts])
    rows = undominated(objective, error)
    if len(rows) > most:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(np.int64))]
    return plans[rows]
