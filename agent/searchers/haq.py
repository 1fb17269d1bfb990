"""HAQ (Wang et al. 2019): DDPG chooses weight and activation bits of every layer, nothing is pruned.

As published: bits 2 to 8 in bins of equal width, first and last layer at the baseline's, ten features a state
(depthwise, channels in and out, stride, kernel, weights, input size, index, last bits, weights or activations), reward
0.1 times the change of accuracy in points, 20 of 600 episodes random, noise times 0.99 per episode, 128 replayed
episodes. A plan over the budget loses a bit layer by layer, in order, until it fits. Costs are the objective here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.searchers.budgets import bisect
from agent.searchers.episodic_ddpg import EpisodicDdpg, Published, scaled
from agent.searchers.scored import Scorer
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import ACTIVATION_BITS, WEIGHT_BITS, Choices

PUBLISHED = Published(decay=0.99, warm_up=20, episodes=600, replayed=128)
LEAST_BITS, MOST_BITS = 2, 8
REWARD = 0.1


def explore(scorer: Scorer, limits: Budget, seed: int) -> None:
    """Trains agents at halved budgets until nothing is left."""
    bisect(HaqSchool(scorer.problem), scorer, limits, seed)


class HaqSchool:
    """What all budgets share: the decisions to take, (layer, column), and the widths that each may have."""

    published = PUBLISHED

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        space = problem.space
        self.steps: list[tuple[int, int]] = []
        self.widths: list[NDArray[np.int64]] = []
        for layer in range(1, space.n_layers - 1):
            for column in (WEIGHT_BITS, ACTIVATION_BITS):
                legal = _widths(problem, layer, column)
                inherits = column == ACTIVATION_BITS and space.deciders.reader[layer] != layer
                if len(legal) > 1 and not inherits:
                    self.steps.append((layer, column))
                    self.widths.append(legal)
        self.features = scaled(_features(problem, self.steps)) if self.steps else np.empty((0, 8))

    def settled(self, rows: NDArray[np.int64]) -> Choices:
        """Returns the plans of places (B, steps) among the widths of every step, int16 (B, L, 4)."""
        space = self.problem.space
        plans = np.repeat(space.start[None], len(rows), axis=0)
        for step, ((layer, column), legal) in enumerate(zip(self.steps, self.widths, strict=True)):
            plans[:, layer, column] = legal[rows[:, step]]
        plans[..., ACTIVATION_BITS] = plans[:, space.deciders.reader, ACTIVATION_BITS]
        return plans

    def objective(self, rows: NDArray[np.int64]) -> FloatArray:
        """Returns objectives relative to the baseline, (B,), of places (B, steps)."""
        return self.problem.objective_value(self.problem.evaluate(self.settled(rows)))

    @property
    def least(self) -> float:
        """The objective with all bits at their least."""
        return float(self.objective(np.zeros((1, len(self.steps)), dtype=np.int64))[0])

    def pupil(self, budget: float, episodes: int, seed: int) -> HaqPupil:
        """Returns a new agent for a share of the baseline's objective."""
        agent = EpisodicDdpg(10, max(len(self.steps), 1), PUBLISHED, episodes=episodes, seed=seed)
        return HaqPupil(self, agent, budget)


@dataclass
class HaqPupil:
    """One agent at one budget."""

    school: HaqSchool
    agent: EpisodicDdpg
    budget: float

    def play(self) -> Choices:
        """Returns the plan of one episode."""
        school, last = self.school, 1.0
        states = np.empty((len(school.steps), 10))
        rows = np.empty(len(school.steps), dtype=np.int64)
        for step, (_, column) in enumerate(school.steps):
            states[step] = (*school.features[step], last, float(column == ACTIVATION_BITS))
            count = len(school.widths[step])
            rows[step] = min(int(self.agent.act(states[step]) * count), count - 1)
            last = (rows[step] + 0.5) / count
        rows = self._within(rows)
        counts = np.array([len(legal) for legal in school.widths])
        self._episode = states, (rows + 0.5) / np.maximum(counts, 1)
        plan: Choices = school.settled(rows[None])[0]
        return plan

    def _within(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the widths after one bit less here and there, in order, until the budget is kept."""
        if self.school.objective(rows[None])[0] <= self.budget:
            return rows
        while rows.any():
            wide = np.flatnonzero(rows)
            lowered = np.repeat(rows[None], len(wide), axis=0)
            for place, step in enumerate(wide):
                lowered[place:, step] -= 1
            fits = np.flatnonzero(self.school.objective(lowered) <= self.budget)
            if len(fits):
                found: NDArray[np.int64] = lowered[fits[0]]
                return found
            rows = lowered[-1]
        return rows

    def reward(self, drop_points: float) -> None:
        """Learns from the change of accuracy."""
        states, actions = self._episode
        if len(states):
            self.agent.finish(states, actions, -REWARD * drop_points)


def _widths(problem: Problem, layer: int, column: int) -> NDArray[np.int64]:
    """Returns the legal indices of widths from 2 to 8 bits."""
    space = problem.space
    if column == WEIGHT_BITS:
        widths, legal = space.weight_bits, space.weight_bits_legal[layer]
    else:
        widths, legal = space.activation_bits, space.activation_bits_legal[layer]
    within = [LEAST_BITS <= width <= MOST_BITS for width in widths]
    return np.flatnonzero(np.array(within) & legal)


def _features(problem: Problem, steps: list[tuple[int, int]]) -> FloatArray:
    """Returns the eight features of a state that do not change, (steps, 8)."""
    rows = []
    for index, _ in steps:
        layer = problem.network.layers[index]
        rows.append(
            (
                layer.depthwise,
                layer.C,
                layer.K,
                layer.stride,
                layer.R,
                layer.weights,
                layer.C * layer.H * layer.W,
                index,
            )
        )
    return np.array(rows, dtype=np.float64)
