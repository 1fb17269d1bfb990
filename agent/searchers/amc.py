"""AMC (He et al. 2018): DDPG chooses how many channels every layer keeps, at the baseline's bits.

As published: kept share 0.2 to 1, ten features a state (index, type, channels in and out, stride, kernel, weights, cost
at least, what the layer can save, last action), reward minus the error, actions clipped so that the budget stays in
reach, 100 of 800 episodes random, noise times 0.95 per episode, 100 replayed episodes. Costs are the objective here.
Channels go by feature map reconstruction where the hardware offers it, else by magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.searchers.budgets import bisect
from agent.searchers.episodic_ddpg import EpisodicDdpg, Published, scaled
from agent.searchers.scored import Scorer
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.scheme import Channel, Filter
from plan.space import DENSITIES, DENSITY, METHOD, Choices

PUBLISHED = Published(decay=0.95, warm_up=100, episodes=800, replayed=100)
LEAST_KEPT = 0.2
ALGORITHMS = ("fm-reconstruction", "l1", "l2", "second-order")


def explore(scorer: Scorer, limits: Budget, seed: int) -> None:
    """Trains agents at halved budgets until nothing is left."""
    bisect(AmcSchool(scorer.problem), scorer, limits, seed)


class AmcSchool:
    """What all budgets share: the layers that may lose channels, and what each share of them costs."""

    published = PUBLISHED

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.methods = [_method(problem, layer) for layer in range(problem.space.n_layers)]
        self.layers = [layer for layer, method in enumerate(self.methods) if method >= 0]
        self.options = {layer: self._options(layer) for layer in self.layers}
        strongest = problem.space.start.copy()
        for layer in self.layers:
            strongest[layer] = self.options[layer][0]
        self.strongest = strongest
        self.least = float(self.objective(strongest[None])[0])
        self.features = scaled(_features(problem)[self.layers]) if self.layers else np.empty((0, 7))

    def _options(self, layer: int) -> Choices:
        """Returns a layer's choices by rising density, int16 (n, 4), the last one dense."""
        space, method = self.problem.space, self.methods[layer]
        legal = np.flatnonzero(space.legal[layer, method] & (DENSITIES >= LEAST_KEPT))
        rows = np.repeat(space.start[layer][None], len(legal) + 1, axis=0)
        rows[:-1, METHOD], rows[:-1, DENSITY] = method, legal
        return rows

    def objective(self, plans: Choices) -> FloatArray:
        """Returns objectives relative to the baseline, (B,), of plans int16 (B, L, 4)."""
        return self.problem.objective_value(self.problem.evaluate(plans))

    def pupil(self, budget: float, episodes: int, seed: int) -> AmcPupil:
        """Returns a new agent for a share of the baseline's objective."""
        agent = EpisodicDdpg(10, max(len(self.layers), 1), PUBLISHED, episodes=episodes, seed=seed)
        return AmcPupil(self, agent, budget)


@dataclass
class AmcPupil:
    """One agent at one budget."""

    school: AmcSchool
    agent: EpisodicDdpg
    budget: float

    def play(self) -> Choices:
        """Returns the plan of one episode; layers to come are at their strongest until they are decided."""
        school, last, spent = self.school, 1.0, 1.0
        plan = school.strongest.copy()
        states, actions = [], []
        for step, layer in enumerate(school.layers):
            plans = np.repeat(plan[None], len(school.options[layer]), axis=0)
            plans[:, layer] = school.options[layer]
            objective = school.objective(plans)
            state = np.array((*school.features[step], spent, float(objective[-1] - objective[0]), last))
            kept = LEAST_KEPT + (1.0 - LEAST_KEPT) * self.agent.act(state)
            row = self._row(layer, kept, objective)
            plan, last, spent = plans[row], float(DENSITIES[plans[row, layer, DENSITY]]), float(objective[row])
            states.append(state)
            actions.append((last - LEAST_KEPT) / (1.0 - LEAST_KEPT))
        self._episode = np.array(states).reshape(-1, 10), np.clip(actions, 0.0, 1.0)
        return plan

    def _row(self, layer: int, kept: float, objective: FloatArray) -> int:
        """Returns the option nearest to a kept share among those within the budget, the strongest where none is."""
        density = DENSITIES[self.school.options[layer][:, DENSITY]]
        within = np.flatnonzero(objective <= self.budget)
        return int(within[np.abs(density[within] - kept).argmin()]) if len(within) else 0

    def reward(self, drop_points: float) -> None:
        """Learns from minus the error, as a fraction."""
        states, actions = self._episode
        if len(states):
            self.agent.finish(states, actions, -drop_points / 100.0)


def _method(problem: Problem, layer: int) -> int:
    """Returns the method by which a layer's channels go, -1 where they are not its to decide."""
    space = problem.space
    group = int(space.deciders.producer_group[layer])
    kinds: list[type] = [Channel]
    if group >= 0 and space.deciders.consumer[group] < 0:
        kinds.append(Filter)
    for kind in kinds:
        for algorithm in ALGORITHMS:
            for method, found in enumerate(space.methods):
                fits = isinstance(found.granularity, kind) and found.algorithm == algorithm
                if fits and (space.legal[layer, method] & (DENSITIES >= LEAST_KEPT)).any():
                    return method
    return -1


def _features(problem: Problem) -> FloatArray:
    """Returns the seven features of a state that do not change, (L, 7)."""
    return np.array(
        [
            (
                index,
                2 * (layer.op == "linear") + layer.depthwise,
                layer.C,
                layer.K,
                layer.stride,
                layer.R,
                layer.weights,
            )
            for index, layer in enumerate(problem.network.layers)
        ],
        dtype=np.float64,
    )
