"""When a measured evaluation may stop: as soon as a limit is out of reach, were all remaining images right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Answers:
    """Which images a plan answers right.

    correct: bool (N,), images left out by a stop among the right ones; run: how many ran; assumed: how many nobody
    meant to run, answered as by the network as given, which is sure of them
    """

    correct: NDArray[np.bool_]
    run: int
    assumed: int = 0

    @property
    def stopped(self) -> bool:
        """Whether images are left that were to run and did not."""
        return self.run + self.assumed < len(self.correct)


def stopped_answers(correct: NDArray[np.bool_], order: NDArray[np.int64], *, batch: int, wrong: int) -> Answers:
    """Returns what a measurement sees that stops once more than so many images are wrong.

    Args:
        correct: bool (images,), which images the plan answers right.
        order: int64 (images,), in which the images run.
        batch: images that run together.
        wrong: as `most_wrong` gives it.
    """
    counts = np.cumsum(~correct[order])
    over = np.flatnonzero(counts > wrong)
    run = min(-(-(int(over[0]) + 1) // batch) * batch, len(order)) if len(over) else len(order)
    seen = np.ones(len(correct), dtype=np.bool_)
    seen[order[:run]] = correct[order[:run]]
    return Answers(seen, run)


def most_wrong(dense: NDArray[np.bool_], limit_points: float) -> int:
    """Returns how many images a plan may answer wrong and still keep a limit on its drop.

    Exactly where `drop_points(dense, plan) <= limit_points` ends: -1 where even a plan without errors breaks the limit.

    Args:
        dense: bool (images,), whether the network as given is right.
        limit_points: accuracy points that may be lost.
    """
    wrong = np.arange(len(dense) + 1)
    drops = 100.0 * (int(dense.sum()) - (len(dense) - wrong)) / len(dense)
    return int((drops <= limit_points).sum()) - 1
