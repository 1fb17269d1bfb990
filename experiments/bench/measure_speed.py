"""Command: what one measured evaluation of a plan takes, against the dense network's forward pass over the same images.

python -m experiments.bench.measure_speed [--nets resnet20 resnet56 mobilenet_v2 resnet50] [--images 1000]
    [--repeats 3]

A measured evaluation loads the repaired layers, which are at hand, re-estimates statistics on the calibration images
and runs all images with rounded activations. Two random mixed plans take turns, so that the first layers change each
time and nothing is kept from the plan before. Both times are the least processor time of the repeats, in which other
load does not count. The first evaluation, in which every layer is repaired anew, stands beside. Weights and images are
random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agent.build import use_threads
from agent.run_folder import threads
from compress.measure import Measurer
from compress.profile import profile
from experiments.mixed_plans import mixed_plans
from hwmodels.loader import load
from networks import zoo
from networks.trace import TracedNetwork, trace
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError, UnknownNameError
from plan.scheme import Scheme
from plan.space import build_space

GOAL_RATIO = 2.0
PROFILED_IMAGES = 32
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network as it is usually measured: pixels a side, and how many calibration images its data have."""

    pixels: int
    calibration: int


CASES = {
    "resnet20": Case(32, 512),
    "resnet56": Case(32, 512),
    "mobilenet_v2": Case(224, 100),
    "resnet50": Case(32, 200),
}


@dataclass(frozen=True)
class Speed:
    """Processor seconds of one network: dense pass, evaluation with its layers at hand, first evaluation."""

    network: str
    images: int
    dense: float
    evaluation: float
    first: float

    @property
    def ratio(self) -> float:
        """Evaluation against dense pass."""
        return self.evaluation / self.dense


def measure(network: str, images: int, repeats: int) -> Speed:
    """Returns the speed of one network."""
    case, rng = CASES[network], torch.Generator().manual_seed(0)
    source = zoo.build(network, CLASSES, (3, case.pixels, case.pixels))
    traced = trace(source.module.eval(), source.input_size, source.name)
    calibration = torch.randn(case.calibration, 3, case.pixels, case.pixels, generator=rng)
    found = profile(traced, calibration[:PROFILED_IMAGES], seed=0)
    measurer = Measurer(traced, found, calibration)
    shown = torch.randn(images, 3, case.pixels, case.pixels, generator=rng)
    plans = _plans(traced)
    first = [_seconds(lambda plan=plan: measurer.outputs(plan, shown)) for plan in plans]  # type: ignore[misc]
    dense, evaluation = [], []
    for repeat in range(repeats):
        plan = plans[repeat % len(plans)]
        dense.append(_seconds(lambda: _dense_pass(traced, measurer, shown)))
        evaluation.append(_seconds(lambda plan=plan: measurer.outputs(plan, shown)))  # type: ignore[misc]
    return Speed(network, images, min(dense), min(evaluation), min(first))


def _plans(traced: TracedNetwork) -> list[tuple[Scheme, ...]]:
    space = build_space(traced.network, load("eyeriss").capabilities)
    return [space.schemes(choice) for choice in mixed_plans(space, np.random.default_rng(0), 2)]


def _dense_pass(traced: TracedNetwork, measurer: Measurer, images: Tensor) -> None:
    module = traced.module.to(memory_format=measurer.working.memory_format)
    with torch.inference_mode():
        for batch in torch.split(images, measurer.batch):
            module(measurer.working.arranged(batch))


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing a line a network, 2 when one cannot be used."""
    parser = Parser(prog="python -m experiments.bench.measure_speed", description="How long measuring a plan takes.")
    parser.add_argument("--nets", nargs="+", default=list(CASES), help=f"of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--images", type=int, default=1000, help="images (default: 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of both (default: 3)")
    return run_command(lambda: _bench(parser.parse_args(arguments)))


def _bench(options: argparse.Namespace) -> int:
    unknown = [name for name in options.nets if name not in CASES]
    if unknown:
        raise UnknownNameError(f"--nets {unknown[0]} is unknown here (known: {', '.join(CASES)})")
    if options.images < 1 or options.repeats < 1:
        raise InvalidValueError(f"--images {options.images} --repeats {options.repeats} (allowed: 1 or more)")
    use_threads(threads())
    table = Table(title="one measured evaluation against the dense forward pass, processor time")
    for heading in ("network", "images", "dense, s", "evaluation, s", "ratio", f"at most {GOAL_RATIO}", "first, s"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name in options.nets:
        found = measure(name, options.images, options.repeats)
        kept = "kept" if found.ratio <= GOAL_RATIO else "not kept"
        times = f"{found.dense:.2f}", f"{found.evaluation:.2f}", f"{found.ratio:.2f}", kept, f"{found.first:.2f}"
        table.add_row(name, f"{found.images:,}", *times)
    Console().print(table)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
