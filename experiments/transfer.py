"""Command: an agent trained on several networks plans one that it never saw, against an agent trained on it.

python -m experiments.transfer --train resnet20,resnet32 --test resnet44 [--seeds 3] [--out transfer]

Per seed: what the plans save as predicted within the limit, by an agent that never trained (it follows the hints), by
the transferred one and by the one trained on the network; and what both save measured, after the shared refinement.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.actor import Actor, load_actor
from agent.composite import CompositeAgent
from agent.hyperparameters import Hyperparameters
from agent.run_folder import short_name
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.composite import ENVS, CompositeSearcher
from agent.searchers.transferred import TransferredSearcher, decided
from envs.observation import build_observer
from envs.problem import Problem
from experiments.cells import ANSWERS, Stage, open_stage, run_cell
from experiments.contestants import SHARED, Contestant
from experiments.request import add_flags, check_counts, settings_of
from experiments.standings import estimate
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError
from plan.rows import write_rows

TURNS = 4
"""Times that training goes round the networks."""
LAST = "agent.zip"


@dataclass(frozen=True)
class Row:
    """Fractions saved on the unseen network with one seed; None where no plan kept the limit."""

    seed: int
    predicted_untrained: float
    predicted_transferred: float
    predicted_trained: float
    measured_transferred: float | None
    measured_trained: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the comparison, 2 when the request cannot be used."""
    parser = Parser(prog="python -m experiments.transfer", description="An agent on a network that it never saw.")
    parser.add_argument("--train", required=True, help="networks to train on, separated by commas")
    parser.add_argument("--test", required=True, help="the network that the agent never sees in training")
    add_flags(parser, evaluations=24, out="transfer")
    return run_command(lambda: _transfer(parser.parse_args(arguments)))


def _transfer(options: argparse.Namespace) -> int:
    check_counts(options)
    names = options.train.split(",")
    if options.test in names:
        raise InvalidValueError(f"--test {options.test} is among --train; name a network that the agent never sees")
    out = Path(options.out)
    *stages, unseen = (open_stage(settings_of(options, name), out / ANSWERS) for name in (*names, options.test))
    rows = [_row(stages, unseen, seed, out / str(seed)) for seed in range(options.seeds)]
    write_rows(out / "transfer.csv", Row, rows)
    _show(rows, options)
    return DONE


def _row(stages: Sequence[Stage], unseen: Stage, seed: int, folder: Path) -> Row:
    """Trains, transfers and compares with one seed; what is there already is read."""
    folder.mkdir(parents=True, exist_ok=True)
    agent_file = folder / LAST
    if not agent_file.is_file():
        train_in_turns([problem_of(stage) for stage in stages], unseen.effort.steps, seed, agent_file)
    place = folder / short_name(unseen.settings.net)
    zero = Contestant("transferred", SHARED, lambda _: TransferredSearcher(agent_file))
    own = Contestant("trained", SHARED, lambda at: CompositeSearcher(Hyperparameters(), folder=at))
    cells = [run_cell(unseen, each, seed, place / each.name) for each in (zero, own)]
    problem = problem_of(unseen)
    hinted = CompositeAgent(CompressionVecEnv(problem, 1, seed), seed=seed)
    actors = (
        Actor(hinted.learners, hinted.interface, hinted.elite.choices),
        load_actor(agent_file),
        load_actor(place / own.name / LAST),
    )
    limit = unseen.settings.max_drop
    predicted = [predicted_saving(actor, problem, limit) for actor in actors]
    measured = [None if cell.objective is None else 1.0 - cell.objective for cell in cells]
    return Row(seed, *predicted, *measured)


def problem_of(stage: Stage) -> Problem:
    """Returns the problem of a network before anything was measured."""
    return stage.assembly.problem(stage.table, stage.settings.objective)


def train_in_turns(
    problems: Sequence[Problem], steps: int, seed: int, file: Path, *, hyper: Hyperparameters | None = None
) -> None:
    """Trains one agent on several networks, a part of the steps on each in turn, and writes it.

    Raises:
        MismatchError: the networks differ in their methods.
    """
    partial = file.with_name(f"{file.name}.turns")
    share = max(steps // (TURNS * len(problems)), 1)
    for turn in range(TURNS):
        for place, problem in enumerate(problems):
            env = CompressionVecEnv(problem, ENVS, seed + turn)
            first = turn == place == 0
            agent = CompositeAgent(env, seed=seed, hyper=hyper) if first else CompositeAgent.load(partial, env)
            agent.learn(share, reset_num_timesteps=first)
            agent.save(partial)
    partial.replace(file)


def predicted_saving(actor: Actor, problem: Problem, drop_points: float) -> float:
    """Returns what the agent's best plan within a predicted drop saves, 0 where it has none."""
    metrics = problem.evaluate(decided(actor, build_observer(problem)))
    kept = metrics.drop_points <= drop_points
    return float(1.0 - problem.objective_value(metrics)[kept].min()) if np.any(kept) else 0.0


def _show(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Prints means with 95 % intervals, and the ratio that transfer reaches."""
    sys.stdout.write(
        f"{options.test}, never seen; trained on {options.train}; saved within {options.max_drop:g} points\n"
    )
    for name in list(Row.__dataclass_fields__)[1:]:
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        label = name.replace("_", ", ")
        told = f"{estimate(values).text(100.0)} %" if len(values) == len(rows) else "no plan with some seed"
        sys.stdout.write(f"  {label}: {told}\n")
    ratios = [row.predicted_transferred / row.predicted_trained for row in rows if row.predicted_trained > 0]
    if ratios:
        sys.stdout.write(f"  transferred / trained, predicted: {estimate(ratios).text(100.0)} %\n")


if __name__ == "__main__":
    sys.exit(main())
