"""What a run would face, without running it: the size of the space, the cheapest plan in it, and the time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from rich.console import Console

from agent.config import Settings
from agent.effort import effort_of, predicted_seconds
from agent.exploration import additive_plans
from agent.terminal import write_json
from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import Problem
from hwmodels.accelerator import Accelerator
from networks.data import open_data
from networks.trace import trace
from networks.zoo import build
from plan.budget import Budget
from plan.space import Space, build_space


@dataclass(frozen=True)
class Outlook:
    """What a run would face: costs of dense and of the cheapest plan (whatever its accuracy) for one image."""

    network: str
    hardware: str
    energy_view: str
    layers: int
    log10_plans: float
    baseline_bits: int
    dense: Budget
    cheapest: Budget
    evaluations: int
    steps: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Returns the outlook as one object."""
        costs = {side: _costs(getattr(self, side)) for side in ("dense", "cheapest")}
        return {**{item.name: getattr(self, item.name) for item in fields(self)}, **costs}

    def lines(self) -> tuple[str, ...]:
        """Returns the outlook as text."""
        return (
            f"{self.network} on {self.hardware}, {self.energy_view} energy, zero fractions not measured",
            f"space: 10^{self.log10_plans:.0f} plans of {self.layers} layers",
            f"dense at {self.baseline_bits} bits: {_told(self.dense)}",
            f"cheapest plan, whatever its accuracy: {_told(self.cheapest)}",
            f"predicted time: about {self.seconds / 60:.0f} min on two cores, stand-in weights not counted: "
            f"{self.evaluations} measured evaluations, {self.steps:,} layer decisions",
        )


def _costs(budget: Budget) -> dict[str, float]:
    return {name: getattr(budget, name) for name in ("energy_uj", "latency_ms", "size_kb")}


def _told(budget: Budget) -> str:
    return f"{budget.energy_uj:,.4g} uJ, {budget.latency_ms:,.4g} ms, {budget.size_kb:,.4g} kB"


def print_outlook(console: Console, settings: Settings, accelerator: Accelerator) -> None:
    """Prints size, cheapest plan and predicted time, as lines or as one JSON object.

    Raises:
        EspalierError: network, data or restrictions that cannot be used.
    """
    found = outlook(settings, accelerator)
    if settings.json:
        write_json(found.to_json())
        return
    for line in found.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def outlook(settings: Settings, accelerator: Accelerator) -> Outlook:
    """Returns what a run would face; weights are neither read nor trained.

    Raises:
        EspalierError: network, data or restrictions that cannot be used.
    """
    dataset = open_data(settings.data)
    source = build(settings.net, dataset.class_count, dataset.input_size)
    network = trace(source.module, source.input_size, source.name).network
    space = build_space(network, accelerator.capabilities, settings.baseline_bits, settings.restrictions)
    problem = Problem(network, accelerator, space, _no_errors(space), Calibration(), settings.objective)
    cheapest = problem.evaluate(additive_plans(problem, np.zeros((1, space.n_layers)))[:1])
    images = {name: len(getattr(dataset.splits, name)) for name in ("calibration", "validation", "test")}
    effort = effort_of(settings, network, images)
    return Outlook(
        network=network.name,
        hardware=accelerator.name,
        energy_view=accelerator.energy_view,
        layers=space.n_layers,
        log10_plans=space.log10_size,
        baseline_bits=settings.baseline_bits,
        dense=problem.baseline.budget(0),
        cheapest=cheapest.budget(0),
        evaluations=effort.evaluations,
        steps=effort.steps,
        seconds=predicted_seconds(effort, network, images),
    )


def _no_errors(space: Space) -> ErrorTable:
    """Returns a table in which every legal choice is free of error."""
    legal = space.legal[:, :, :, None] & space.weight_bits_legal[:, None, None, :]
    return ErrorTable(np.where(legal, 0.0, np.inf), np.zeros((space.n_layers, len(space.activation_bits))))
