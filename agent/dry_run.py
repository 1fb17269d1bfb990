"""What a run would face, without running it: the size of the space, the cheapest plan in it, and the time."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from agent.config import Settings
from agent.effort import effort_of, predicted_seconds
from agent.exploration import additive_plans
from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import Problem
from hwmodels.accelerator import Accelerator
from networks.data import open_data
from networks.trace import trace
from networks.zoo import build
from plan.space import Space, build_space


def print_outlook(console: Console, settings: Settings, accelerator: Accelerator) -> None:
    """Prints size, cheapest plan (whatever its accuracy) and predicted time; weights are neither read nor trained.

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
    baseline, effort = problem.baseline, effort_of(settings, network, images)
    lines = (
        f"{network.name} on {accelerator.name}, {accelerator.energy_view} energy, zero fractions not measured",
        f"space: 10^{space.log10_size:.0f} plans of {space.n_layers} layers",
        f"dense at {settings.baseline_bits} bits: {baseline.energy_uj[0]:,.4g} uJ, {baseline.latency_ms[0]:,.4g} ms, "
        f"{baseline.size_kb[0]:,.4g} kB",
        f"cheapest plan, whatever its accuracy: {cheapest.energy_uj[0]:,.4g} uJ, {cheapest.latency_ms[0]:,.4g} ms, "
        f"{cheapest.size_kb[0]:,.4g} kB",
        f"predicted time: about {predicted_seconds(effort, network, images) / 60:.0f} min on two cores, training of "
        f"stand-in weights not counted: {effort.evaluations} measured evaluations, {effort.steps:,} layer decisions",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _no_errors(space: Space) -> ErrorTable:
    """Returns a table in which every legal choice is free of error."""
    legal = space.legal[:, :, :, None] & space.weight_bits_legal[:, None, None, :]
    return ErrorTable(np.where(legal, 0.0, np.inf), np.zeros((space.n_layers, len(space.activation_bits))))
