"""What plans are expected to lose on all validation images, and how surely, when a part of the images is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.accuracy.archive import Measurement
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.space import Choices

BIAS_PRIOR = 1.0
"""Finalists' worth of evidence that predictions are right on the images that the search did not see."""
VARIANCE, VARIANCE_PRIOR = 400.0, 3.0
"""Squared points by which one image scatters about a predicted drop, as if so many plans had shown it: a plan that
changes the answer to 4 % of the images has 100^2 * 0.04."""
SURE_SPREAD = 0.05
"""Points by which a plan's drop differs, as a standard deviation, for images that the search took for sure."""
MILDEST, STRONGEST = 0.25, 4.0
"""Plans predicted to lose so many points show that scatter."""


@dataclass(frozen=True)
class Expectation:
    """How drops on all images follow from predicted ones and from those measured on the search's images.

    Attributes:
        problem: predicts drops; its calibration was fitted on the search's images.
        share: of all images that the search's measurements speak of.
        bias_points: what plans lose beyond their prediction on the images that the search did not see.
        new_spread: standard deviation of the drop of a plan that was never measured, in points.
    """

    problem: Problem
    share: float
    searched: dict[bytes, Measurement]
    bias_points: float
    new_spread: float

    @classmethod
    def of(
        cls, problem: Problem, searched: Sequence[Measurement], found: Sequence[Measurement], images: int
    ) -> Expectation:
        """Returns what plans measured on the search's images, and on all of them, teach about the rest."""
        known = {entry.choice.tobytes(): entry for entry in searched}
        share = len(searched[0].correct) / images if searched else 0.0
        new_spread = float(np.sqrt(_variance(problem, searched) / images))
        blank = cls(problem, share, known, 0.0, new_spread)
        return cls(problem, share, known, blank._bias(found), new_spread)

    @property
    def searched_spread(self) -> float:
        """Standard deviation of the drop on all images of a plan that the search measured, in points."""
        return float(np.hypot(np.sqrt(1.0 - self.share) * self.new_spread, SURE_SPREAD))

    def of_searched(self, entries: Sequence[Measurement]) -> FloatArray:
        """Returns the expected drops, points (n,), of plans that the search measured."""
        predicted = np.array([self.problem.predicted_drop(entry.choice) for entry in entries])
        return self.share * _drops(entries, predicted) + (1.0 - self.share) * (predicted + self.bias_points)

    def of_new(self, choices: Sequence[Choices]) -> FloatArray:
        """Returns the expected drops, points (n,), of plans, each int16 (L, 4), that were not measured."""
        predicted = np.array([self.problem.predicted_drop(choice) for choice in choices])
        return predicted + (1.0 - self.share) * self.bias_points

    def _bias(self, found: Sequence[Measurement]) -> float:
        """Returns by how much plans lose more than predicted on unseen images, shrunk towards zero; self has none."""
        if self.share >= 1.0:
            return 0.0
        worse = [(entry.drop_points - self._expected(entry)) / (1.0 - self.share) for entry in found]
        return float(sum(worse) / (len(worse) + BIAS_PRIOR))

    def _expected(self, entry: Measurement) -> float:
        known = self.searched.get(entry.choice.tobytes())
        return float((self.of_new([entry.choice]) if known is None else self.of_searched([known]))[0])


def _drops(entries: Sequence[Measurement], predicted: FloatArray) -> FloatArray:
    """Returns measured drops, points (n,); of plans that stopped early what is known of them, at least as predicted."""
    measured = np.array([entry.drop_points for entry in entries])
    stopped = np.array([entry.stopped for entry in entries], dtype=np.bool_)
    return np.where(stopped, np.maximum(measured, predicted), measured)


def _variance(problem: Problem, searched: Sequence[Measurement]) -> float:
    """Returns the squared points by which one image scatters about a predicted drop, from plans that ran to the end."""
    full = [entry for entry in searched if not entry.stopped]
    predicted = np.array([problem.predicted_drop(entry.choice) for entry in full])
    measured = np.array([entry.drop_points for entry in full])
    near = (predicted >= MILDEST) & (predicted <= STRONGEST)
    images = np.array([len(entry.correct) for entry in full])
    shown = float((images * (measured - predicted) ** 2)[near].sum())
    return (VARIANCE_PRIOR * VARIANCE + shown) / (VARIANCE_PRIOR + int(near.sum()))
