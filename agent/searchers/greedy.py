"""Greedy search: from the start plan, always the change that gains most of the objective for its error."""

from __future__ import annotations

import numpy as np

from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import Resumable
from agent.steps import Stepper
from envs.problem import Problem
from envs.reward import linear_objective
from plan.budget import Budget
from plan.space import Choices

MOST_STEPS, NOTED = 20_000, 16
LEAST_GAIN, LEAST_ERROR = 1e-9, 1e-12


class GreedySearcher(Resumable):
    """Walks down the additive table one layer at a time; every plan on the way is a candidate."""

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of the plans on the way from the start to the cheapest plan."""
        stepper = Stepper(problem)
        path = list(self.begin().get("path", problem.space.start[None]))
        while len(path) <= MOST_STEPS:
            following = _step(problem, stepper, path[-1])
            if following is None:
                break
            path.append(following)
            if len(path) % NOTED == 0:
                self.note(path=np.stack(path))
            observer.progress("search", len(path) % 100, 100)
        self.note(path=np.stack(path))
        observer.progress("search", 100, 100)
        return predicted_frontier(problem, np.stack(path))


def _step(problem: Problem, stepper: Stepper, plan: Choices) -> Choices | None:
    """Returns the plan after the best single step on the additive table, None when none gains."""
    steps = stepper.steps(plan)
    slope, table = linear_objective(problem), problem.table
    gain, error = np.empty(len(steps)), np.empty(len(steps))
    for layer in range(problem.space.n_layers):
        rows = np.flatnonzero(steps.layer == layer)
        change = table.differences(layer, steps.choice[rows]) - table.differences(layer, plan[layer][None])
        gain[rows], error[rows] = -(change[:, :3] @ slope), change[:, 3]
    gaining = np.flatnonzero(gain > LEAST_GAIN)
    if not len(gaining):
        return None
    best = gaining[np.argmax(gain[gaining] / np.maximum(error[gaining], LEAST_ERROR))]
    following: Choices = stepper.runs(plan, steps, np.array([best]))[0]
    return following
