"""Command: how many layer configurations a second every hardware preset prices, looks up, and how many shapes it maps.

python -m experiments.bench.hw_speed [--plans 512] [--seconds 2]

One process on one core (set OMP_NUM_THREADS=1). Every rate is printed per second of its own processor time, so that
other load does not count, and per second of wall time; below stand the public tools' times per layer.
A layer configuration is one layer under one plan. Looked up: taken from a table of every layer's cells (32 densities
x weight bits x activation bits) that was priced before. Shapes are mapped by the preset's policy and by free search.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from hwmodels.accelerator import Accelerator
from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.loader import load, preset_names
from hwmodels.mapping import choose
from plan.assignment import Assignment
from plan.command import Parser, run_command
from plan.layer import InputSegment, Layer, Network

FILE_WIDTH = 140
PROMISED = {"configurations": 1e6, "lookups": 1e7, "searches": 300.0}
"""Least rates per second of processor time, of every preset."""
TOOLS_S_PER_LAYER = {
    "MAESTRO 4eb08d1": 0.012,
    "nn_dataflow 198a527": 0.58,
    "ZigZag 3.9.1": 5.0,
    "Timeloop 3.0.3": 17.8,
    "SCALE-Sim 3.0.0": 41.0,
    "AccelForge 1.0.467": 43.3,
}
"""Means over the reference layers, measured by running the tools on one core; MAESTRO prices a given mapping."""
STAGES = ((64, 256, 56, 3), (128, 512, 28, 4), (256, 1024, 14, 6), (512, 2048, 7, 3))


@dataclass(frozen=True)
class Rate:
    """Units of work per second, of processor time and of wall time."""

    per_cpu_s: float
    per_wall_s: float

    def __str__(self) -> str:
        return f"{self.per_cpu_s:,.0f} / {self.per_wall_s:,.0f}"


@dataclass(frozen=True)
class Speed:
    """Rates of one preset; mappings only where the model searches them, by its own policy and freely."""

    name: str
    configurations: Rate
    lookups: Rate
    mappings: Rate | None
    searches: Rate | None

    def kept(self) -> bool:
        """Returns whether every rate is at least what is promised."""
        rates = {name: getattr(self, name) for name in PROMISED}
        return all(rate is None or rate.per_cpu_s >= PROMISED[name] for name, rate in rates.items())


def resnet50() -> Network:
    """Returns the shapes of ResNet-50's 53 convolutions and its linear layer at 224 x 224."""
    members = [_conv("stem", 64, 3, 7, 112, 2)]
    inputs = 64
    for stage, (narrow, wide, size, blocks) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            name = f"stage{stage}.{block}"
            members += [
                _conv(f"{name}.reduce", narrow, inputs, 1, size * stride, 1),
                _conv(f"{name}.spatial", narrow, narrow, 3, size, stride),
                _conv(f"{name}.expand", wide, narrow, 1, size, 1),
            ]
            if not block:
                members.append(_conv(f"{name}.shortcut", wide, inputs, 1, size, stride))
            inputs = wide
    members.append(replace(_conv("classifier", 1000, inputs, 1, 1, 1), op="linear"))
    return Network("resnet50 shapes", (3, 224, 224), tuple(members), (), ())


def _conv(name: str, filters: int, channels: int, kernel: int, size: int, stride: int) -> Layer:
    return Layer(
        name=name,
        op="conv",
        K=filters,
        C=channels,
        R=kernel,
        S=kernel,
        P=size,
        Q=size,
        H=size * stride,
        W=size * stride,
        stride=stride,
        groups=1,
        input_tensor=f"{name} input",
        output_tensor=None,
        inputs=(InputSegment(0, channels),),
        output_group=0,
        input_zero_fraction=0.4,
        output_zero_fraction=0.4,
    )


def random_plans(network: Network, bits: Sequence[int], plans: int, rng: np.random.Generator) -> Assignment:
    """Returns plans of random bits, densities and channels, (plans, L)."""
    whole = dense(network, bits[-1], plans)
    shape = whole.kept_inputs.shape
    density, kept = rng.uniform(0.1, 1.0, shape), rng.uniform(0.3, 1.0, shape)
    widths = rng.choice(np.asarray(bits), (3, *shape))
    return replace(
        whole,
        kept_inputs=np.maximum(1, np.rint(whole.kept_inputs * kept)).astype(np.int64),
        kept_outputs=np.maximum(1, np.rint(whole.kept_outputs * kept)).astype(np.int64),
        weight_density=density,
        stored_bits=whole.stored_bits * kept * kept * density,
        weight_bits=widths[0],
        input_bits=widths[1],
        output_bits=widths[2],
    )


def rate(work: Callable[[], int], seconds: float) -> Rate:
    """Returns units of work per second: work is repeated for so long in processor time and returns its units."""
    work()
    done, cpu, wall = 0, time.process_time(), time.perf_counter()
    while time.process_time() - cpu < seconds:
        done += work()
    return Rate(done / (time.process_time() - cpu), done / (time.perf_counter() - wall))


def measure(accelerator: Accelerator, network: Network, plans: int, seconds: float) -> Speed:
    """Returns the rates of one preset."""
    batch = random_plans(network, accelerator.capabilities.weight_bits, plans, np.random.default_rng(0))

    def price() -> int:
        return accelerator.evaluate(network, batch).size_bits.size

    mappings = searches = None
    if isinstance(accelerator, Eyeriss):
        free = accelerator.with_parameters(replace(accelerator.parameters, policy="search"))
        mappings, searches = _mapping_rate(accelerator, network, seconds), _mapping_rate(free, network, seconds)
    lookups = _lookup_rate(accelerator, network, plans, seconds)
    return Speed(accelerator.name, rate(price, seconds), lookups, mappings, searches)


def _lookup_rate(accelerator: Accelerator, network: Network, plans: int, seconds: float) -> Rate:
    known, layers = accelerator.capabilities, len(network.layers)
    grid = np.meshgrid(np.arange(1, 33) / 32, known.weight_bits, known.activation_bits, indexing="ij")
    density, weights, inputs = (np.repeat(axis.reshape(-1, 1), layers, axis=1) for axis in grid)
    whole = dense(network, known.weight_bits[-1], len(density))
    every = replace(whole, weight_density=density, weight_bits=weights, input_bits=inputs)
    cost = accelerator.evaluate(network, every)
    table = np.ascontiguousarray(
        np.stack((cost.energy_pj, cost.latency_cycles, cost.size_bits), axis=-1).transpose(1, 0, 2)
    )
    chosen = np.random.default_rng(0).integers(len(density), size=(plans, layers))
    columns = np.arange(layers)
    return rate(lambda: table[columns, chosen].shape[0] * layers, seconds)


def _mapping_rate(accelerator: Eyeriss, network: Network, seconds: float) -> Rate:
    def search() -> int:
        choose.cache_clear()
        for layer in network.layers:
            accelerator.mapping_of(layer)
        return choose.cache_info().misses

    return rate(search, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing one line a preset."""
    parser = Parser(prog="python -m experiments.bench.hw_speed", description=__doc__)
    parser.add_argument("--plans", type=int, default=512, help="plans in a batch (default 512)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per measurement (default 2)")
    return run_command(lambda: _bench(parser.parse_args(arguments)))


def _bench(options: argparse.Namespace) -> int:
    network = resnet50()
    title = (
        f"{len(network.layers)} layers of ResNet-50, batches of {options.plans} plans; per s of processor / wall time"
    )
    headings = ("preset", "configurations", "looked up", "mapped by its policy", "mapped by free search", "promised")
    table = Table(*headings, title=title)
    speeds = [measure(load(name), network, options.plans, options.seconds) for name in preset_names()]
    for speed in speeds:
        rates = (speed.configurations, speed.lookups, speed.mappings, speed.searches)
        cells = ("" if rate is None else str(rate) for rate in rates)
        table.add_row(speed.name, *cells, "kept" if speed.kept() else "not kept")
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(table)
    console.print("promised on one core: " + ", ".join(f"{name} {least:,.0f}" for name, least in PROMISED.items()))
    console.print(_tools(min(speed.searches.per_cpu_s for speed in speeds if speed.searches)))
    return 0


def _tools(slowest_per_s: float) -> Table:
    """Returns the public tools' times per layer beside our slowest free search."""
    table = Table("tool", "s per layer", "times ours", title="one layer mapped and priced, one core")
    table.add_row("ours, free search, slowest preset", f"{1.0 / slowest_per_s:.4f}", "1")
    for tool, seconds in TOOLS_S_PER_LAYER.items():
        table.add_row(tool, f"{seconds:g}", f"{seconds * slowest_per_s:,.0f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
