"""Another budget answered from a trained agent: its plans at many exchange rates, landed on the limits.

A plan that was only predicted must keep the limit on the drop with a margin for how far single plans lie from the
calibration; a plan that the run measured need not. The cheaper of the two is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from agent.actor import load_actor
from agent.decide import decide, play, rate_grid, shown
from agent.exploration import additive_plans
from agent.hints import HintLayout
from agent.interface import Interface
from agent.landing import Landed, Lander
from agent.layer_errors import layer_errors
from agent.limits import COSTS, Bounds
from agent.opened_run import AGENTS, OpenedRun
from agent.searchers.frontier import predicted_frontier
from agent.steps import Stepper
from envs.accuracy.archive import Measurement
from envs.accuracy.calibration import Calibration
from envs.conditions import mixes_within
from envs.observation import build_observer
from envs.problem import Metrics, Objective, Problem
from plan.budget import FLAGS, Budget
from plan.errors import MissingFileError
from plan.space import Choices

RATES = 96
STARTS, ROUNDS, EXCHANGES = 2, 6, 0
"""Candidates that are landed on the limits, and how long each may take: seconds on a large network."""
BISECTIONS = 60
OBJECTIVE_OF: dict[str, Objective] = {"energy_uj": "energy", "latency_ms": "latency", "size_kb": "size"}


@dataclass(frozen=True, eq=False)
class Answer:
    """A plan for a budget.

    Attributes:
        choice: int16 (L, 4).
        metrics: a batch of one, the drop as predicted.
        objective: relative to the baseline.
        measured: its measurement, None where it is predicted only.
        feasible: whether it keeps the limits: as measured, or as predicted with the margin.
        reasons: what is in the way where it does not, one text each.
    """

    choice: Choices
    metrics: Metrics
    objective: float
    measured: Measurement | None
    feasible: bool
    reasons: tuple[str, ...] = ()

    @property
    def drop_points(self) -> float:
        """The measured drop, the predicted one where nothing was measured."""
        return float(self.metrics.drop_points[0]) if self.measured is None else self.measured.drop_points

    @property
    def cost(self) -> Budget:
        """What the plan costs, in the type that limits have."""
        return replace(self.metrics.budget(0), drop_points=self.drop_points)


def answer(run: OpenedRun, confidence: float) -> Answer:
    """Returns the cheapest plan that keeps the limits of a run's settings; the nearest one where none does.

    Args:
        run: opened with the question's objective and limits.
        confidence: probability, from 0.5 to under 1, with which a plan that is only predicted should keep the drop.

    Raises:
        EspalierError: no agent in the run, or one of another hardware.
    """
    problem, limits = run.problem, run.settings.limits
    cautious = replace(limits, drop_points=cautious_drop(problem.calibration, limits.drop_points, confidence))
    candidates = _candidates(run, cautious)
    lander = Lander(problem, Stepper(problem, Bounds.of(problem, limits).limited_costs))
    landed = [
        lander.land(start, cautious, rounds=ROUNDS, exchanges=EXCHANGES)
        for start in _nearest(problem, candidates, cautious)
    ]
    answers = [*(_predicted(found) for found in landed), *_measured(run, limits)]
    feasible = [found for found in answers if found.feasible]
    if feasible:
        return min(feasible, key=lambda found: (found.objective, found.measured is None))
    nearest = min(answers, key=lambda found: limits.broken_share(found.cost))
    return replace(nearest, reasons=tuple(_reasons(lander, nearest, limits, cautious)))


def cautious_drop(calibration: Calibration, points: float, confidence: float) -> float:
    """Returns the largest predicted drop that stays within so many points with a probability, 0 where none does."""
    margin = NormalDist().inv_cdf(confidence)
    if not np.isfinite(points):
        return points
    low, high = 0.0, points
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        error = calibration.error_at(middle)
        within = middle + margin * float(calibration.uncertainty(error)) <= points
        low, high = (middle, high) if within else (low, middle)
    return low


def _candidates(run: OpenedRun, limits: Budget) -> Choices:
    """Returns the plans to land from.

    The predicted frontier of the agent's plans without limits, of the best that it met in training, and of the
    measured; then its plans when it is shown the limits, under the objective and its mixes with the limited costs.
    """
    files = [file for name in AGENTS if (file := run.folder / name).is_file()]
    if not files:
        raise MissingFileError(
            f"{run.folder} holds no {AGENTS[-1]}: --method {run.settings.method}; ask a run of agent.train"
        )
    bounds = Bounds.of(run.problem, limits)
    mixes = mixes_within(run.problem, bounds.limited_costs)
    actor, observer = load_actor(files[0]), build_observer(run.problem, mixes)
    actor.interface.check_same_shapes(Interface(HintLayout.of(observer), 1, run.problem.space.n_layers))
    rates = rate_grid(RATES)
    plans = decide(actor.decider, observer, rates)
    known = np.array([entry.choice for entry in run.measured], dtype=np.int16)
    free = predicted_frontier(run.problem, np.concatenate((plans, actor.elite, known)))
    limits_shown = shown(bounds, len(mixes) * RATES)
    told = play(actor.decider, observer, np.tile(rates, len(mixes)), mixes=np.repeat(mixes, RATES), limits=limits_shown)
    return np.concatenate((free, told.choices))


def _nearest(problem: Problem, candidates: Choices, limits: Budget) -> Choices:
    """Returns the candidates to land from: the cheapest that keep the limits, then those that break them least."""
    bounds, metrics = Bounds.of(problem, limits), problem.evaluate(candidates)
    order = np.lexsort((problem.objective_value(metrics), bounds.excess(metrics)))
    return candidates[order[:STARTS]]


def _predicted(found: Landed) -> Answer:
    return Answer(found.choice, found.metrics, found.objective, None, found.feasible)


def _measured(run: OpenedRun, limits: Budget) -> Iterable[Answer]:
    """Yields measured plans priced by the question's objective."""
    entries = run.measured
    metrics = run.problem.evaluate(np.stack([entry.choice for entry in entries]))
    objective = run.problem.objective_value(metrics)
    for row, entry in enumerate(entries):
        one = Metrics(**{name: getattr(metrics, name)[row : row + 1] for name in metrics.__dataclass_fields__})
        yield Answer(entry.choice, one, float(objective[row]), entry, limits.satisfied_by(entry.cost))


def _reasons(lander: Lander, nearest: Answer, limits: Budget, cautious: Budget) -> Iterable[str]:
    """Yields what is in the way: a limit out of reach on its own, or the limits that cannot be kept together."""
    problem, broken = lander.problem, False
    for name in COSTS:
        if not np.isfinite(getattr(limits, name)):
            continue
        plan, reached = _least(problem, nearest.choice, name, getattr(limits, name))
        if reached > getattr(limits, name):
            broken = True
            yield (
                f"{FLAGS[name]} {getattr(limits, name):g} is out of reach whatever the accuracy: the least found is "
                f"{reached:.4g}, of which {_largest(problem, plan, name)}"
            )
    if broken:
        return
    flags = [f"{FLAGS[name]} {getattr(limits, name):g}" for name in _limited(limits)]
    text = f"{' and '.join(flags)} cannot be kept{' together' if len(flags) > 1 else ''}"
    yield f"{text}; of the predicted drop {_most_error(problem, nearest.choice)}"
    if cautious.drop_points == 0.0 < limits.drop_points:
        yield (
            "the calibration is not sure enough to promise so small a drop for a plan that was not measured; "
            "give a lower --confidence, or measure more plans with a longer run"
        )


def _least(problem: Problem, choice: Choices, name: str, enough: float) -> tuple[Choices, float]:
    """Returns a plan of least cost whatever its accuracy, and that cost; the first found that costs little enough."""
    alone, free = problem.with_objective(OBJECTIVE_OF[name]), Budget()
    starts, found = [choice], [(choice, _cost(problem, choice, name))]
    if found[0][1] > enough:
        starts.append(additive_plans(alone, np.zeros((1, problem.space.n_layers)))[0])
        found.append((starts[1], _cost(problem, starts[1], name)))
    if found[-1][1] > enough:
        lander = Lander(alone, Stepper(alone))
        landed = [lander.land(start, free, rounds=ROUNDS, exchanges=0).choice for start in starts]
        found += [(plan, _cost(problem, plan, name)) for plan in landed]
    return min(found, key=lambda pair: pair[1])


def _cost(problem: Problem, choice: Choices, name: str) -> float:
    """Returns a plan's energy_uj, latency_ms or size_kb."""
    return float(getattr(problem.evaluate(choice[None]), name)[0])


def _limited(limits: Budget) -> list[str]:
    return [name for name in FLAGS if np.isfinite(getattr(limits, name))]


def _largest(problem: Problem, choice: Choices, name: str) -> str:
    """Returns the layer that takes most of a cost in a plan, in words."""
    cost = problem.accelerator.evaluate(problem.network, problem.space.resolve(choice[None]))
    field = {"energy_uj": cost.energy_pj, "latency_ms": cost.latency_cycles, "size_kb": cost.size_bits}[name]
    share = field[0] / field[0].sum()
    layer = int(np.argmax(share))
    return f"{share[layer]:.0%} in {problem.network.layers[layer].name}"


def _most_error(problem: Problem, choice: Choices) -> str:
    """Returns the layer that brings most of a plan's predicted error, in words."""
    found = layer_errors(problem, choice)
    layer = int(np.argmax(found))
    return f"{found[layer] / max(float(found.sum()), 1e-300):.0%} comes from {problem.network.layers[layer].name}"
