"""Command: how many layer decisions a second the composite agent trains on, learning included.

python -m experiments.bench.train_speed [--net resnet20,resnet50] [--hw eyeriss] [--decisions 40000] [--profile]

With the settings that produce every table, on synthetic errors, since their values do not change the speed: collecting
in 128 environments, PPO's and DDPG's updates, and the greedy episodes after every rollout. Agents learn with one
thread; rates are per second of processor time, which other load does not lower, and beside it of wall time.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from agent.composite import CompositeAgent
from agent.hyperparameters import Hyperparameters
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.composite import ENVS
from experiments.bench.env_speed import build_problem
from plan.command import Parser, run_command

GOAL = 12_000
MOST_LINES = 40


@dataclass(frozen=True)
class Speed:
    """How fast an agent trained.

    Attributes:
        decisions: layer decisions taken.
        per_processor_s, per_wall_s: decisions per second.
        ppo_steps, ddpg_steps: gradient steps, of DDPG's critic and actor alike.
        ppo_passes, ddpg_passes: times that a decision was learnt from, on average.
    """

    decisions: int
    per_processor_s: float
    per_wall_s: float
    ppo_steps: int
    ddpg_steps: int
    ppo_passes: float
    ddpg_passes: float


def measure(agent: CompositeAgent, decisions: int) -> Speed:
    """Returns how fast an agent trains for at least so many decisions, after one rollout that is not counted."""
    agent.learn(1)
    hyper, rollout = agent.hyper, agent.num_timesteps
    epochs, steps = agent.ppo._n_updates, agent.ddpg._n_updates
    processor, wall = time.process_time(), time.perf_counter()
    agent.learn(decisions, reset_num_timesteps=False)
    taken = time.process_time() - processor, time.perf_counter() - wall
    done = agent.num_timesteps - rollout
    epochs, steps = agent.ppo._n_updates - epochs, agent.ddpg._n_updates - steps
    return Speed(
        decisions=done,
        per_processor_s=done / taken[0],
        per_wall_s=done / taken[1],
        ppo_steps=epochs * math.ceil(rollout / hyper.minibatch),
        ddpg_steps=steps,
        ppo_passes=epochs * rollout / done,
        ddpg_passes=steps * hyper.batch / done,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every network reaches the goal in processor time, else 1, after printing the rates."""
    parser = Parser(prog="python -m experiments.bench.train_speed", description=__doc__)
    parser.add_argument("--net", default="resnet20,resnet50", help="networks (default resnet20,resnet50)")
    parser.add_argument("--hw", default="eyeriss", help="hardware preset or file (default eyeriss)")
    parser.add_argument("--decisions", type=int, default=40_000, help="layer decisions, at least (default 40000)")
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    return run_command(lambda: _bench(parser.parse_args(arguments)))


def _bench(options: argparse.Namespace) -> int:
    profile = cProfile.Profile() if options.profile else None
    found = {net: _trained(net, options, profile) for net in options.net.split(",")}
    Console(width=None if sys.stdout.isatty() else 120).print(_table(found, options.hw))
    if profile is not None:
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(MOST_LINES)
    return int(any(speed.per_processor_s < GOAL for speed in found.values()))


def _trained(net: str, options: argparse.Namespace, profile: cProfile.Profile | None) -> Speed:
    env = CompressionVecEnv(build_problem(net, options.hw), ENVS, 0)
    agent = CompositeAgent(env, seed=0, hyper=Hyperparameters())
    if profile is None:
        return measure(agent, options.decisions)
    with profile:
        return measure(agent, options.decisions)


def _table(found: dict[str, Speed], hw: str) -> Table:
    """Returns the rates with the updates that they hold, one row per network."""
    table = Table(title=f"training on {hw}, {ENVS} environments; goal {GOAL:,} decisions per second of processor time")
    headings = ("network", "decisions", "/s processor", "/s wall", "PPO steps", "DDPG steps", "updates per decision")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for net, speed in found.items():
        rates = f"{speed.per_processor_s:,.0f}", f"{speed.per_wall_s:,.0f}"
        passes = f"PPO {speed.ppo_passes:.1f}, DDPG {speed.ddpg_passes:.1f}"
        table.add_row(net, f"{speed.decisions:,}", *rates, f"{speed.ppo_steps:,}", f"{speed.ddpg_steps:,}", passes)
    return table


if __name__ == "__main__":
    sys.exit(main())
