"""Command: how many layer decisions a second the environments take, and how fast whole plans are predicted.

python -m experiments.bench.env_speed [--net resnet50] [--hw eyeriss] [--envs 512] [--seconds 3]

Random legal actions, masks included; the errors are synthetic, since their values do not change the speed. One process,
one thread (set OMP_NUM_THREADS=1); rates are per second of processor time, which other load does not lower, and beside
it of wall time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.compression_env import CompressionEnv
from envs.observation import Observer, build_observer
from envs.problem import Problem
from envs.vector_env import VectorCompressionEnv
from hwmodels.loader import load
from networks import zoo
from networks.trace import trace
from plan.command import Parser, run_command
from plan.space import Space, build_space

VECTOR_GOAL, SINGLE_GOAL, PREDICTION_GOAL_MS = 300_000, 5_000, 50
PREDICTED_PLANS = 4096
INPUT_SIZE = (3, 32, 32)


@dataclass(frozen=True)
class Rate:
    """Units of work per second of processor time and of wall time."""

    processor: float
    wall: float


def rate(work: Callable[[], int], seconds: float) -> Rate:
    """Returns how fast the work goes: it is repeated for so long and returns its units."""
    work()
    done, processor, wall = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < seconds:
        done += work()
    return Rate(done / (time.process_time() - processor), done / (time.perf_counter() - wall))


def synthetic_errors(space: Space) -> ErrorTable:
    """Returns errors that rise with sparsity and fall by four with every bit."""
    weights, activations = np.array(space.weight_bits), np.array(space.activation_bits)
    removed = 1 - np.arange(1, 33) / 32
    cells = np.broadcast_to(1e-2 * removed[:, None] ** 2 + 4.0**-weights, (*space.legal.shape, len(weights)))
    legal = space.legal[..., None] & space.weight_bits_legal[:, None, None]
    first = space.deciders.reader == np.arange(space.n_layers)
    return ErrorTable(np.where(legal, cells, np.inf), first[:, None] * 4.0**-activations)


def build_problem(net: str, hw: str) -> Problem:
    """Returns the problem of an untrained network with synthetic errors."""
    source = zoo.build(net, 10, INPUT_SIZE)
    traced = trace(source.module, source.input_size, source.name)
    accelerator = load(hw)
    space = build_space(traced.network, accelerator.capabilities)
    return Problem(traced.network, accelerator, space, synthetic_errors(space), Calibration())


def vector_work(observer: Observer, envs: int) -> Callable[[], int]:
    """Returns one episode of all environments as work, counted in layer decisions."""
    env, rng = VectorCompressionEnv(observer.problem, envs, seed=0, observer=observer), np.random.default_rng(0)
    env.reset()

    def episode() -> int:
        for _ in range(observer.problem.space.n_layers):
            mask = env.action_masks()
            methods = np.argmax(rng.random(mask.shape, dtype=np.float32) * mask, axis=1)
            env.step({"method": methods, "values": rng.random((envs, 3), dtype=np.float32)})
        return envs * observer.problem.space.n_layers

    return episode


def single_work(observer: Observer) -> Callable[[], int]:
    """Returns one episode of the single environment as work, counted in layer decisions."""
    env, rng = CompressionEnv(observer.problem, observer), np.random.default_rng(0)

    def episode() -> int:
        env.reset(seed=0)
        for _ in range(observer.problem.space.n_layers):
            legal = np.flatnonzero(env.action_masks())
            method = legal[int(rng.random() * len(legal))]
            env.step({"method": method, "values": rng.random(3, dtype=np.float32)})
        return observer.problem.space.n_layers

    return episode


def prediction_work(problem: Problem) -> Callable[[], int]:
    """Returns the prediction of 4,096 whole plans as work, counted in batches."""
    choices = problem.space.sample(np.random.default_rng(0), PREDICTED_PLANS)
    return lambda: len(problem.evaluate(choices)) // PREDICTED_PLANS


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when both environments reach their goals, else 1, after printing the rates."""
    parser = Parser(prog="python -m experiments.bench.env_speed", description=__doc__)
    parser.add_argument("--net", default="resnet50", help="network (default resnet50)")
    parser.add_argument("--hw", default="eyeriss", help="hardware preset or file (default eyeriss)")
    parser.add_argument("--envs", type=int, default=512, help="environments side by side (default 512)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time per measurement (default 3)")
    return run_command(lambda: _bench(parser.parse_args(arguments)))


def _bench(options: argparse.Namespace) -> int:
    problem = build_problem(options.net, options.hw)
    began = time.perf_counter()
    observer = build_observer(problem)
    built = time.perf_counter() - began
    vector = rate(vector_work(observer, options.envs), options.seconds)
    single = rate(single_work(observer), options.seconds)
    batch = rate(prediction_work(problem), options.seconds)
    table = Table("what", "processor time", "wall time", "goal", title=_title(problem, built))
    for name, found, goal in ((f"{options.envs} envs", vector, VECTOR_GOAL), ("single env", single, SINGLE_GOAL)):
        table.add_row(f"{name}, decisions/s", f"{found.processor:,.0f}", f"{found.wall:,.0f}", f"{goal:,}")
    times = f"{1e3 / batch.processor:.1f}", f"{1e3 / batch.wall:.1f}", f"{PREDICTION_GOAL_MS}"
    table.add_row(f"{PREDICTED_PLANS:,} plans predicted, ms", *times)
    Console().print(table)
    return int(vector.processor < VECTOR_GOAL or single.processor < SINGLE_GOAL)


def _title(problem: Problem, built: float) -> str:
    space = problem.space
    size = f"{space.n_layers} layers, {len(space.methods)} methods, {len(problem.network.groups)} channel groups"
    return f"{problem.network.name} on {problem.accelerator.name}: {size}; synthetic errors; observer in {built:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
