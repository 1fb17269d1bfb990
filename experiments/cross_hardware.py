"""Command: a matrix of plans and accelerators, found on A and priced on B.

python -m experiments.cross_hardware A/plan.json B/plan.json ... [--hw NAME ...] [--net NET] [--csv matrix.csv]

Every cell is the saving against the dense network at the plan's baseline bits on the accelerator of the column, in the
energy view that prices there (the CSV file holds both); choices that it cannot execute are priced dense or at the next
wider bits, and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.plan_network import network_of_plan
from agent.transfer import priced
from hwmodels.accelerator import VIEWS, Accelerator
from hwmodels.loader import load as load_hardware
from hwmodels.loader import preset_names
from plan.command import DONE, Parser, run_command
from plan.document import Document, load
from plan.layer import Network
from plan.rows import write_rows


@dataclass(frozen=True)
class Cell:
    """What a plan saves on a hardware, fractions; masked counts the choices that the hardware cannot execute.

    energy: in the view that prices there, which is `energy_view`; the other two in the views that they name
    """

    plan: str
    found_on: str
    priced_on: str
    energy_view: str
    energy: float
    energy_normalised: float
    energy_joules: float
    latency: float
    size: float
    masked: int


def matrix(plans: Sequence[tuple[str, Document, Network]], accelerators: Sequence[Accelerator]) -> list[Cell]:
    """Returns a cell per plan and accelerator, plan by plan."""
    return [
        _cell(name, document, network, accelerator) for name, document, network in plans for accelerator in accelerators
    ]


def _cell(name: str, document: Document, network: Network, accelerator: Accelerator) -> Cell:
    prices = {view: priced(network, document, accelerator, view) for view in VIEWS}
    own = prices[accelerator.energy_view]
    return Cell(
        plan=name,
        found_on=document["hardware"]["name"],
        priced_on=accelerator.name,
        energy_view=accelerator.energy_view,
        energy=own.saving("energy"),
        energy_normalised=prices["normalised"].saving("energy"),
        energy_joules=prices["joules"].saving("energy"),
        latency=own.saving("latency"),
        size=own.saving("size"),
        masked=len(own.masked),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the matrix, 2 when a plan, its network or a hardware cannot be used."""
    parser = Parser(prog="python -m experiments.cross_hardware", description="Plans found on A, priced on B.")
    parser.add_argument("plans", metavar="PLAN", nargs="+", help="plan.json files")
    parser.add_argument("--hw", nargs="+", default=preset_names(), help="accelerators (default: every preset)")
    parser.add_argument("--net", help="the plans' network, when it moved or is code in a file (default: as each says)")
    parser.add_argument("--csv", help="also write the cells to this file")
    return run_command(lambda: _run(parser, arguments))


def _run(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    accelerators = [load_hardware(name) for name in options.hw]
    documents = [(path, load(Path(path))) for path in options.plans]
    plans = [(path, document, network_of_plan(document, options.net)) for path, document in documents]
    cells = matrix(plans, accelerators)
    if options.csv:
        write_rows(Path(options.csv), Cell, cells)
    _show(cells, [accelerator.name for accelerator in accelerators])
    return DONE


def _show(cells: Sequence[Cell], names: Sequence[str]) -> None:
    """Prints a row per plan: energy saved, latency saved, and in brackets how many choices were replaced."""
    table = Table(title="energy saved / latency saved (choices not executable there)")
    for heading in ("plan", "found on", *names):
        table.add_column(heading)
    for start in range(0, len(cells), len(names)):
        row = cells[start : start + len(names)]
        table.add_row(row[0].plan, row[0].found_on, *map(_text, row))
    Console(width=None if sys.stdout.isatty() else 60 + 18 * len(names)).print(table)


def _text(cell: Cell) -> str:
    return f"{cell.energy:.0%} / {cell.latency:.0%}" + (f" ({cell.masked})" if cell.masked else "")


if __name__ == "__main__":
    sys.exit(main())
