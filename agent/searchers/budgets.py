"""The budgets of AMC and HAQ, which take a cost and not an accuracy: halved towards the limit on the drop.

Both publish one agent per budget, and reward accuracy alone. So the share of the objective that an agent may spend is
bisected between the least that its choices reach and the dense network, a new agent for each, the evaluations shared.
"""

from __future__ import annotations

from typing import Protocol

from agent.searchers.episodic_ddpg import Published
from agent.searchers.scored import Scorer
from plan.budget import Budget
from plan.space import Choices

ROUNDS = 4
REPEATS = 4
"""Times as many episodes as evaluations that an agent may play."""


class Pupil(Protocol):
    """An agent at one budget."""

    def play(self) -> Choices:
        """Returns the plan int16 (L, 4) of one episode, within the budget."""

    def reward(self, drop_points: float) -> None:
        """Is told what the plan lost, and learns."""


class School(Protocol):
    """Makes pupils for budgets."""

    @property
    def published(self) -> Published:
        """Published settings."""

    @property
    def least(self) -> float:
        """The least objective that its choices reach."""

    def pupil(self, budget: float, episodes: int, seed: int) -> Pupil:
        """Returns a new agent for a share of the baseline's objective."""


def bisect(school: School, scorer: Scorer, limits: Budget, seed: int) -> None:
    """Trains agents at budgets towards the limits until nothing is left to spend.

    A plan met again costs nothing, so that an agent which has settled may play on for a while.
    """
    low, high = school.least, 1.0
    for turn in range(ROUNDS):
        share = scorer.left // (ROUNDS - turn)
        if share <= 0:
            return
        budget = (low + high) / 2
        kept = _trained(school.pupil(budget, share, seed + turn), scorer, limits, share)
        low, high = (low, budget) if kept else (budget, high)


def _trained(pupil: Pupil, scorer: Scorer, limits: Budget, share: int) -> bool:
    """Lets an agent spend its share and returns whether any of its plans kept the limits."""
    kept, enough = False, scorer.left - share
    for _ in range(REPEATS * share):
        if scorer.left <= enough:
            break
        scores = scorer.score(pupil.play()[None])
        pupil.reward(float(scores.drop_points[0]))
        kept |= bool(scores.violation(limits)[0] == 0.0)
    return kept
