"""Where an observation holds the hints of the additive table, from which the learners may start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from envs.observation import Observer

if TYPE_CHECKING:
    import torch

Rows = TypeVar("Rows", "torch.Tensor", NDArray[np.float32])
"""What learners train on, or what an agent that only acts reads; the columns are the same."""
EDGE = 0.98
"""Hinted values are kept this far inside (-1, 1), so that the squashed output can still move away from them."""


@dataclass(frozen=True)
class HintLayout:
    """First columns of the hints in an observation of `features` numbers, for M `methods`.

    scores: M scores (-1 for the best, higher is worse); values: M x 3 best action values; mask: M flags of legality.
    """

    features: int
    methods: int
    scores: int
    values: int
    mask: int

    @classmethod
    def of(cls, observer: Observer) -> HintLayout:
        """Returns where an observer writes its hints."""
        starts = observer.score_columns.start, observer.value_columns.start, observer.mask_columns.start
        return cls(observer.size, observer.n_methods, *starts)

    def scores_of(self, observations: Rows) -> Rows:
        """Returns the hinted score of every method, (B, M)."""
        return observations[:, self.scores : self.scores + self.methods]

    def mask_of(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns which methods are legal, bool (B, M)."""
        return observations[:, self.mask : self.mask + self.methods] > 0.5

    def values_of(self, conditioned: Rows) -> Rows:
        """Returns the hinted density, weight bits and activation bits of the chosen method, (B, 3) in [0, 1].

        Args:
            conditioned: (B, F + M), observations with the chosen method's one-hot code behind them.
        """
        table = conditioned[:, self.values : self.values + 3 * self.methods].reshape(-1, self.methods, 3)
        return (conditioned[:, None, self.features :] @ table).squeeze(1)

    def actions_of(self, conditioned: Rows) -> Rows:
        """Returns the hinted values as actions in [-1, 1], (B, 3)."""
        return 2 * self.values_of(conditioned) - 1
