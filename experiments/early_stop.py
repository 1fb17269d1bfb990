"""Command: what stopping early would have saved on plans that were measured in full, and whether any verdict changes.

python -m experiments.early_stop fidelity/resnet20.jsonl --net NET --weights FILE --data DATA
    [--limits 0.5 1 2 5] [--images 2000]

The record is that of `experiments.fidelity` for the same network: for every plan, which image it answers right. The
images are cut into disjoint sets of the size that a search measures on, each set is put in the order in which a search
meets it, and every plan is stopped as `agent.judge` stops it. Verdicts are compared with those of the full record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agent.build import use_threads
from agent.judge import margins_of
from agent.run_folder import threads
from envs.accuracy.early_stop import most_wrong, stopped_answers
from envs.accuracy.statistics import drop_points
from experiments.recorded import Record, add_record_flags, read_record, run_as_given
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError


@dataclass(frozen=True)
class Saved:
    """What stopping did under a limit: evaluations, how many stopped, verdicts that changed, images of all and run."""

    limit: float
    evaluations: int
    stopped: int
    changed: int
    images: int
    run: int


def replay(record: Record, margins: NDArray[np.float32], *, limit: float, images: int, batch: int) -> Saved:
    """Returns what stopping saves on every recorded plan and every disjoint set of so many images.

    Args:
        record: dense and plans' answers, in the order of the data.
        margins: (all images,), by how much the network as given prefers the right answer.
        limit: accuracy points.
        images: in a set; what is left over is not used.
        batch: images that run together.
    """
    stopped = changed = run = count = 0
    for start in range(0, len(record.dense) - images + 1, images):
        part = slice(start, start + images)
        dense, order = record.dense[part], np.argsort(margins[part], kind="stable")
        for correct in record.plans[:, part]:
            found = stopped_answers(correct, order, batch=batch, wrong=most_wrong(dense, limit))
            changed += (drop_points(dense, found.correct) <= limit) != (drop_points(dense, correct) <= limit)
            stopped, run, count = stopped + found.stopped, run + found.run, count + 1
    return Saved(limit, count, stopped, changed, count * images, run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 1 when a verdict changed, 2 when the record cannot be used."""
    parser = Parser(prog="python -m experiments.early_stop", description="What stopping early saves.")
    add_record_flags(parser)
    parser.add_argument("--limits", type=float, nargs="+", default=[0.5, 1.0, 2.0, 5.0], help="accuracy points")
    parser.add_argument("--images", type=int, default=2000, help="images of an evaluation (default: 2000)")
    return run_command(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    record = read_record(options.record)
    if not 0 < options.images <= len(record.dense):
        raise InvalidValueError(f"--images {options.images} (allowed: 1 to {len(record.dense)})")
    use_threads(threads())
    given = run_as_given(options, len(record.dense))
    margins, images = margins_of(given.outputs, given.labels), options.images
    found = [replay(record, margins, limit=limit, images=images, batch=given.batch) for limit in options.limits]
    _show(found, options.images)
    return 1 if any(saved.changed for saved in found) else DONE


def _show(found: Sequence[Saved], images: int) -> None:
    table = Table(title=f"stopping early, {images:,} images an evaluation")
    for heading in ("limit, points", "evaluations", "stopped", "verdicts changed", "images saved"):
        table.add_column(heading, justify="right")
    for saved in found:
        share = f"{100 * (1 - saved.run / saved.images):.1f} %"
        table.add_row(f"{saved.limit:g}", f"{saved.evaluations:,}", f"{saved.stopped:,}", str(saved.changed), share)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
