"""Command: budgets drawn at random put to a trained agent: how long each answer takes, and whether it holds, measured.

python -m experiments.bench.query_budgets RUN [--budgets 10] [--seed 0] [--csv FILE] [--net] [--weights] [--data]

Every budget limits the drop to 0.3 to 5 points, each cost with probability 1/2 to a share of the dense network's, and
reduces one of the objectives. It is asked as a user asks, `python -m agent.query` in a process of its own, timed from
its start to its end. Plans are then measured on all validation images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from agent.config import OBJECTIVES
from agent.judge import Judge, SplitMeasure
from agent.plan_sources import Overrides, check_sources_of, sources_of
from agent.progress import Display
from agent.rebuild import choice_of, rebuild
from envs.accuracy.statistics import drop_points
from plan.budget import FLAGS, Budget
from plan.command import DIFFERENT, DONE, INFEASIBLE, Parser, run_command
from plan.document import Document, load
from plan.errors import EspalierError, InvalidValueError
from plan.space import Space

GOAL_SECONDS = 5.0
COSTS = ("energy_uj", "latency_ms", "size_kb")
LOWEST_DROP, HIGHEST_DROP = 0.3, 5.0
LEAST_SHARE, MOST_SHARE = 0.05, 0.8
"""Limits on costs, relative to the dense network's: from what no plan may reach to what every plan keeps."""


@dataclass(frozen=True)
class Question:
    """A budget and what is to be reduced within it."""

    limits: Budget
    objective: str

    def words(self) -> list[str]:
        """Returns it as flags of `agent.query`."""
        asked = {flag: getattr(self.limits, name) for name, flag in FLAGS.items()}
        found = [word for flag, value in asked.items() if np.isfinite(value) for word in (flag, repr(float(value)))]
        return [*found, "--objective", self.objective]


@dataclass(frozen=True)
class Answer:
    """What `agent.query` said: its plan, none where it declared the budget infeasible, and why that is."""

    question: Question
    seconds: float
    plan: Document | None
    reason: str


@dataclass(frozen=True)
class Reply:
    """An answer judged by measurement; nothing is measured where there is no plan.

    seconds: from the start of the process to its end
    stated_drop_points: as the answer says; drop_points: on all validation images; holds: all limits, by that
    """

    question: str
    seconds: float
    feasible: bool
    stated_drop_points: float | None
    drop_points: float | None
    holds: bool | None
    reason: str

    @property
    def good(self) -> bool:
        """Whether it came in time and, if it is a plan, keeps its limits."""
        return self.seconds < GOAL_SECONDS and self.holds is not False


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every answer came in time and holds, 1 when one does not, 2 when the run cannot be used."""
    parser = Parser(prog="python -m experiments.bench.query_budgets", description="Random budgets for a trained agent.")
    parser.add_argument("run", metavar="RUN", help="the folder of a run of agent.train")
    parser.add_argument("--budgets", type=int, default=10, help="how many are drawn (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--csv", type=Path, help="file for the table")
    for name in ("net", "weights", "data"):
        parser.add_argument(f"--{name}", help="when it moved or is code in a file (default: as the plan says)")
    return run_command(lambda: _bench(parser.parse_args(arguments)))


def _bench(options: argparse.Namespace) -> int:
    if options.budgets < 1:
        raise InvalidValueError(f"--budgets {options.budgets} asks nothing (allowed: 1 or more)")
    document = load(Path(options.run) / "plan.json")
    rng = np.random.default_rng(options.seed)
    questions = [drawn(rng, document["baseline"]) for _ in range(options.budgets)]
    with tempfile.TemporaryDirectory() as place:
        answers = [ask(options.run, question, Path(place) / f"{n}.json") for n, question in enumerate(questions)]
    replies = judged(document, Overrides(options.net, options.weights, options.data), answers)
    if options.csv:
        pd.DataFrame([asdict(reply) for reply in replies]).to_csv(options.csv, index=False)
    _print(replies)
    return DONE if all(reply.good for reply in replies) else DIFFERENT


def drawn(rng: np.random.Generator, baseline: Mapping[str, float]) -> Question:
    """Returns a random budget, costs limited to shares of the dense network's."""
    drop = float(np.exp(rng.uniform(np.log(LOWEST_DROP), np.log(HIGHEST_DROP))))
    shares = np.exp(rng.uniform(np.log(LEAST_SHARE), np.log(MOST_SHARE), len(COSTS)))
    limited = rng.random(len(COSTS)) < 0.5
    costs = {name: baseline[name] * float(share) for name, share, so in zip(COSTS, shares, limited, strict=True) if so}
    return Question(Budget(drop_points=drop, **costs), str(rng.choice(OBJECTIVES)))


def ask(run: str, question: Question, file: Path) -> Answer:
    """Returns what `agent.query` says of a run.

    Raises:
        EspalierError: it could not answer.
    """
    command = [sys.executable, "-m", "agent.query", run, *question.words(), "--json", "--out", str(file)]
    begun = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if ended.returncode not in (DONE, INFEASIBLE):
        raise EspalierError(ended.stderr.strip())
    said = json.loads(ended.stdout)
    return Answer(question, seconds, load(file) if said["feasible"] else None, "; ".join(said["reasons"]))


def judged(document: Document, moved: Overrides, answers: Sequence[Answer]) -> list[Reply]:
    """Returns the answers with their plans measured, on the sources of a run's plan."""
    sources = sources_of(document, moved)
    accelerator = check_sources_of(document, sources)
    with Display() as display:
        rebuilt = rebuild(document, sources, accelerator, display, cached=True)
    subject = rebuilt.assembly.subject
    measure = SplitMeasure(Judge(subject, rebuilt.measurer), subject.dataset.splits.validation)
    return [_judged(measure, rebuilt.assembly.space, answer) for answer in answers]


def _judged(measure: SplitMeasure, space: Space, answer: Answer) -> Reply:
    plan, asked = answer.plan, " ".join(answer.question.words())
    if plan is None:
        return Reply(asked, answer.seconds, False, None, None, None, answer.reason)
    images = len(measure.images)
    right = measure.correct(space.schemes(choice_of(plan, space)), images)
    drop = drop_points(measure.dense(images), right)
    cost = Budget(drop_points=drop, **{name: plan["totals"][name] for name in COSTS})
    stated = plan["accuracy"]["validation"]
    said = plan["accuracy"]["predicted_drop_points"] if stated is None else stated["drop_points"]
    return Reply(asked, answer.seconds, True, said, drop, answer.question.limits.satisfied_by(cost), "")


def _print(replies: Sequence[Reply]) -> None:
    table = Table(title="random budgets: the answer, and its drop measured on all validation images")
    for heading in ("asked", "s", "stated", "measured", "limits"):
        table.add_column(heading, justify="left" if heading == "asked" else "right")
    for reply in replies:
        stated, found = (
            "" if value is None else f"{value:.2f}" for value in (reply.stated_drop_points, reply.drop_points)
        )
        verdict = {True: "kept", False: "BROKEN", None: "infeasible"}[reply.holds]
        table.add_row(reply.question, f"{reply.seconds:.1f}", stated, found, verdict)
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    kept = sum(reply.holds is True for reply in replies)
    refused = sum(not reply.feasible for reply in replies)
    slowest = max(reply.seconds for reply in replies)
    sys.stdout.write(f"{kept} kept, {len(replies) - kept - refused} broken, {refused} declared infeasible; ")
    sys.stdout.write(f"slowest {slowest:.1f} s (goal {GOAL_SECONDS:g} s)\n")


if __name__ == "__main__":
    sys.exit(main())
