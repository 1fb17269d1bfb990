"""Plans landed on the limit as measurements on all images show it to lie.

Between a plan that keeps the limit and the cheaper ones that do not lie often several percent of the objective that the
search has no plan for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.landing import Landed, Lander
from agent.limits import Bounds
from agent.steps import Stepper
from envs.accuracy.archive import Measurement
from envs.problem import Problem
from plan.budget import Budget

AIMS = (0.85, 1.0)
"""Shares of the limit on the drop that plans are landed on."""


class Closer:
    """Lands plans about the limits of one problem.

    Args:
        problem: with the calibration fitted by the search.
        limits: a drop and perhaps costs.
    """

    def __init__(self, problem: Problem, limits: Budget) -> None:
        self.limits = limits
        self._lander = Lander(problem, Stepper(problem, Bounds.of(problem, limits).limited_costs))

    def landed(self, best: Measurement | None, found: Sequence[Measurement], bias_points: float) -> list[Landed]:
        """Returns plans that are expected to lose a little less than the limit, each once.

        Args:
            best: that keeps the limits on all images, None where none does; landing starts from it.
            found: plans measured on all images; landing starts from the mildest that loses too much, too.
            bias_points: what plans lose beyond their prediction.
        """
        broken = [entry for entry in found if entry.drop_points > self.limits.drop_points]
        starts = [entry for entry in (best, min(broken, key=lambda entry: entry.drop_points, default=None)) if entry]
        targets = [aim * self.limits.drop_points - bias_points for aim in AIMS]
        landed = [
            self._lander.land(entry.choice, replace(self.limits, drop_points=target))
            for entry in starts
            for target in targets
            if target > 0.0
        ]
        return list({plan.choice.tobytes(): plan for plan in landed if plan.feasible}.values())
