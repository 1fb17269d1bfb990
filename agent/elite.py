"""The best plans that an agent came across while it trained: a predicted frontier that only ever improves."""

from __future__ import annotations

import numpy as np

from envs.pareto import undominated
from plan.assignment import FloatArray
from plan.space import Choices

MOST_PLANS = 256


class Elite:
    """Plans that none met so far beats in both objective and error, at most 256, spread over the frontier.

    Attributes:
        choices: int16 (n, L, 4), by rising objective.
        scores: float64 (n, 2), objective and error.
    """

    def __init__(self, layers: int) -> None:
        self.choices: Choices = np.empty((0, layers, 4), dtype=np.int16)
        self.scores: FloatArray = np.empty((0, 2))

    def add(self, choices: Choices, objective: FloatArray, error: FloatArray) -> None:
        """Takes in plans, int16 (B, L, 4), with their objectives and errors, (B,)."""
        plans = np.concatenate((self.choices, choices))
        scores = np.concatenate((self.scores, np.column_stack((objective, error))))
        rows = undominated(scores[:, 0], scores[:, 1])
        if len(rows) > MOST_PLANS:
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, MOST_PLANS).round().astype(np.int64))]
        self.choices, self.scores = plans[rows], scores[rows]
