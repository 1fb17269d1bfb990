"""How well the proxy ranks: plans that no fit saw, crossed from measured ones so that their layers are at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.exploration import jittered_plans, nearest
from envs.accuracy.archive import Archive
from envs.accuracy.fidelity import Fidelity, fidelity
from envs.accuracy.statistics import drop_points
from envs.problem import Problem
from plan.space import ACTIVATION_BITS, METHOD, Choices, Space

POOL, JITTERED = 2048, 256
PARENTS_PER_PLAN, MOST_PARENTS = 2, 12
LOWEST_DROP, HIGHEST_DROP, HIGHEST_PARENT = 0.25, 10.0, 20.0


def crossed_plans(space: Space, parents: Choices, rng: np.random.Generator, plans: int) -> Choices:
    """Returns plans made of the first layers of one parent and the last of another, int16 (plans, L, 4).

    So that few layers are repaired anew: those that read channels which another parent removed.

    Two layers of which either may decide a channel group come from the same parent where that matters.
    """
    parts = _parts(space, parents)
    few = rng.integers(0, len(parents), (plans, PARENTS_PER_PLAN))
    cuts = rng.integers(0, parts.max() + 2, (plans, PARENTS_PER_PLAN - 1))
    which = (np.arange(parts.max() + 1) >= cuts[:, :, None]).sum(axis=1)
    source = np.take_along_axis(few, which, axis=1)[:, parts]
    choices: Choices = parents[source, np.arange(space.n_layers)]
    choices[:, :, ACTIVATION_BITS] = choices[:, space.deciders.reader, ACTIVATION_BITS]
    return choices


def _parts(space: Space, parents: Choices) -> NDArray[np.int64]:
    """Returns a number per layer, (L,), equal for layers that must come from one parent.

    These are the two that may decide a group, where any parent leaves the decision to the second.
    """
    channel = np.asarray(space.geometry.is_channel[parents[:, :, METHOD]].any(axis=0))
    part = np.arange(space.n_layers)
    for producer, consumer in zip(space.deciders.producer, space.deciders.consumer, strict=True):
        if producer >= 0 and consumer >= 0 and channel[consumer]:
            part[part == part[consumer]] = part[producer]
    return np.unique(part, return_inverse=True)[1]


def held_out_plans(problem: Problem, archive: Archive, rng: np.random.Generator, plans: int) -> Choices:
    """Returns unmeasured plans spread over predicted drops of 0 to 10 points, int16 (<= plans, L, 4)."""
    measured = np.unique(np.stack([entry.choice for entry in archive.measurements]), axis=0)
    parents = nearest(problem, measured, np.geomspace(LOWEST_DROP, HIGHEST_PARENT, min(MOST_PARENTS, len(measured))))
    if problem.evaluate(parents).drop_points.max() < HIGHEST_DROP:
        dear = nearest(problem, jittered_plans(problem, rng, JITTERED), np.array([HIGHEST_DROP, HIGHEST_PARENT]))
        parents = np.concatenate((parents, dear))
    fresh = unmeasured(archive, crossed_plans(problem.space, parents, rng, POOL))
    if len(fresh) < plans:
        fresh = unmeasured(archive, np.concatenate((fresh, problem.space.sample(rng, POOL))))
    targets = np.linspace(LOWEST_DROP, HIGHEST_DROP, min(plans, len(fresh)))
    return nearest(problem, fresh, targets)


def unmeasured(archive: Archive, pool: Choices) -> Choices:
    """Returns the plans of a pool that the archive does not hold, each once, int16 (n, L, 4)."""
    measured = {entry.choice.tobytes() for entry in archive.measurements}
    fresh = [choice for choice in np.unique(pool, axis=0) if choice.tobytes() not in measured]
    return np.array(fresh, dtype=pool.dtype).reshape(-1, *pool.shape[1:])


@dataclass(frozen=True)
class Study:
    """Predicted and measured drops of held-out plans, in points, and how they agree."""

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    images: int
    found: Fidelity

    def summary(self) -> dict[str, Any]:
        """Returns the figures of agreement, as a plan holds them."""
        return {**self.found.to_json(), "images": self.images}

    def to_json(self) -> dict[str, Any]:
        """Returns the figures with all pairs, as fidelity.json holds them."""
        return {**self.summary(), "predicted": list(self.predicted), "measured": list(self.measured)}


def study(problem: Problem, archive: Archive, choices: Choices, images: int, tick: Callable[[int], None]) -> Study:
    """Returns how predicted drops of plans agree with measured ones; the measurements enter no archive of the run."""
    dense, measured = archive.dense(images), []
    for done, choice in enumerate(choices, start=1):
        correct = archive.measure.correct(problem.space.schemes(choice), images)
        measured.append(drop_points(dense, correct))
        tick(done)
    predicted = problem.evaluate(choices).drop_points.tolist()
    return Study(tuple(predicted), tuple(measured), images, fidelity(predicted, measured, seed=0))
