"""Random search: legal plans of all strengths, of which the predicted frontier is kept."""

from __future__ import annotations

import numpy as np

from agent.measuring import Measuring
from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import Resumable, number
from envs.accuracy.archive import Archive
from envs.problem import Problem
from plan.budget import Budget
from plan.space import UNDECIDED, Choices

PLANS, BATCH = 8192, 1024


class RandomSearcher(Resumable):
    """Draws plans; each has a strength of its own, so that mild ones are among them even in deep networks.

    A plan of strength s leaves a layer dense with probability 1 - s, and draws density and bits from the upper part s
    of their legal ranges.
    """

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of 8,192 random plans; every batch is drawn from a seed of its own."""
        begun = self.begin()
        kept: Choices = begun.get("kept", problem.space.start[None])
        for done in range(number(begun, "done"), PLANS, BATCH):
            observer.progress("search", done, PLANS)
            drawn = self._draw(problem, np.random.default_rng([seed, done]))
            kept = predicted_frontier(problem, np.concatenate((kept, drawn)))
            self.note(kept=kept, done=np.array(done + BATCH))
        observer.progress("search", PLANS, PLANS)
        return kept

    def measure(self, archive: Archive, limits: Budget, *, measuring: Measuring, seed: int, observer: Observer) -> None:
        """Measures random plans."""
        rng = np.random.default_rng(seed)
        while not measuring.over(archive):
            archive.evaluate(self._draw(archive.problem, rng, 1)[0], measuring.images)
            observer.progress("measure", len(archive.on(measuring.images)), measuring.evaluations)

    def _draw(self, problem: Problem, rng: np.random.Generator, plans: int = BATCH) -> Choices:
        space = problem.space
        strength = rng.random(plans)
        choices = np.full((plans, space.n_layers, 4), UNDECIDED, dtype=np.int16)
        for layer in range(space.n_layers):
            mask = space.method_mask(choices, layer)
            methods = np.argmax(rng.random(mask.shape) * mask, axis=1)
            methods = np.where(rng.random(plans) < strength, methods, 0)
            values = 1.0 - strength[:, None] * rng.random((plans, 3))
            choices[:, layer] = space.from_unit(layer, methods, values, choices)
        return choices
