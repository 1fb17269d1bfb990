"""Command: how near a drop comes that is measured on the images of which the network as given is least sure.

python -m experiments.least_sure fidelity/resnet20.jsonl --net NET --weights FILE --data DATA
    [--shares 0.1 0.2 0.3 0.4 0.6]

The record is that of `experiments.fidelity` for the same network: for every plan, which image it answers right. Of all
images a share runs, those of which the network is least sure, and the others are taken to be answered as it answers
them, as in a search. Beside it stands what as many images drawn by chance would have said.
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
from experiments.recorded import Record, add_record_flags, read_record, run_as_given
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError

BANDS = ((-1.0, 1.0), (1.0, 3.0), (3.0, 10.0))
"""Drops on all images, points, of the plans that a column is about."""
DRAWS = 200


@dataclass(frozen=True)
class Nearness:
    """How drops measured on a share of the images differ from those on all, in points.

    plans: in the band; mean, largest: size of the difference where the least sure run; chance: its mean size where as
    many are drawn by chance
    """

    plans: int
    mean: float
    largest: float
    chance: float


def nearness(
    record: Record, leads: NDArray[np.float32], share: float, band: tuple[float, float], *, seed: int = 0
) -> Nearness:
    """Returns how near drops on a share of the images come to those on all.

    Args:
        record: answers of the network as given and of plans.
        leads: (images,), how far the network's first answer is before its second.
        share: of the images that run, above 0.
        band: drops on all images, points, of the plans that count.
        seed: of the draws by chance.
    """
    lost = 100.0 * (record.dense.astype(np.float64) - record.plans)
    drops = lost.mean(1)
    lost, drops = (part[(drops > band[0]) & (drops <= band[1])] for part in (lost, drops))
    if not len(drops):
        return Nearness(0, 0.0, 0.0, 0.0)
    images, run = lost.shape[1], max(round(share * lost.shape[1]), 1)
    differences = np.abs(lost[:, np.argsort(leads, kind="stable")[:run]].sum(1) / images - drops)
    rng = np.random.default_rng(seed)
    drawn = [lost[:, rng.choice(images, run, replace=False)].mean(1) - drops for _ in range(DRAWS)]
    return Nearness(len(drops), float(differences.mean()), float(differences.max()), float(np.abs(drawn).mean()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when the record cannot be used."""
    parser = Parser(prog="python -m experiments.least_sure", description="What the least sure images say of all.")
    add_record_flags(parser)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.2, 0.3, 0.4, 0.6], help="of the images")
    return run_command(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    odd = [share for share in options.shares if not 0.0 < share <= 1.0]
    if odd:
        raise InvalidValueError(f"--shares {odd[0]:g} (allowed: above 0 to 1)")
    record = read_record(options.record)
    use_threads(threads())
    outputs = run_as_given(options, len(record.dense)).outputs
    leads = margins_of(outputs, outputs.argmax(1))
    table = Table(title=f"drops on a share of {len(leads):,} images, off by points: mean (largest), by chance")
    table.add_column("share that runs", justify="right")
    for low, high in BANDS:
        table.add_column(f"{low:g} to {high:g} points", justify="right")
    for share in options.shares:
        found = [nearness(record, leads, share, band) for band in BANDS]
        table.add_row(f"{share:g}", *(_shown(one) for one in found))
    Console().print(table)
    return DONE


def _shown(found: Nearness) -> str:
    return f"{found.mean:.2f} ({found.largest:.2f}), {found.chance:.2f}" if found.plans else "no plans"


if __name__ == "__main__":
    sys.exit(main())
