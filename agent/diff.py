"""Command: what two plans choose differently, and what each difference costs.

python -m agent.diff A.json B.json [--net NET] [--csv F] [--all] [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from agent.plan_sources import check_same
from agent.terminal import add_output_flags, write_json
from hwmodels.loader import load as load_hardware
from plan.command import DONE, Parser, run_command
from plan.document import Document, load
from plan.rows import write_rows

if TYPE_CHECKING:
    from agent.plan_changes import Changes

SHOWN = 40
FILE_WIDTH = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the differences, 2 when a plan cannot be used or the two cannot be compared."""
    parser = Parser(prog="python -m agent.diff", description="What two plans choose differently, and what it costs.")
    parser.add_argument("first", metavar="A", help="a plan.json")
    parser.add_argument("second", metavar="B", help="another plan of the same network on the same hardware")
    parser.add_argument("--net", help="the network, when it moved or is code in a file (default: as the plan says)")
    parser.add_argument("--csv", metavar="FILE", help="also write every difference to this file")
    parser.add_argument("--all", action="store_true", help=f"print every difference, not the {SHOWN} largest")
    add_output_flags(parser)
    return run_command(lambda: _diff(parser, arguments))


def _diff(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    first, second = load(Path(options.first)), load(Path(options.second))
    accelerator = load_hardware(first["hardware"]["source"])
    from agent.plan_changes import Change, changes, check_comparable  # torch, which a broken plan need not wait for
    from agent.plan_network import network_of_plan

    check_comparable(first, second)
    check_same("hardware", first["hardware"]["fingerprint"], accelerator.fingerprint)
    found = changes(network_of_plan(first, options.net), accelerator, first, second)
    if options.csv:
        write_rows(Path(options.csv), Change, found.changes)
    if options.json:
        accuracies = {"accuracy": {"first": first["accuracy"], "second": second["accuracy"]}}
        write_json({"plans": [options.first, options.second], **asdict(found), **accuracies})
    elif not options.quiet:
        _show(found, first, second, len(found.changes) if options.all else SHOWN)
    return DONE


def _show(found: Changes, first: Document, second: Document, most: int) -> None:
    """Prints the largest differences by energy, then what they come to."""
    shown = sorted(found.changes, key=lambda change: -abs(change.energy_uj))[:most]
    order = {id(change): place for place, change in enumerate(found.changes)}
    table = Table(
        title=f"{first['network']['name']} on {first['hardware']['name']}: from A to B, one difference at a time",
        caption="changes of the whole network's cost when A takes over one choice of B",
    )
    for heading in ("layer", "part", "A", "B", "energy, uJ", "latency, ms", "size, kB"):
        table.add_column(heading, justify="right" if "," in heading else "left", no_wrap=True)
    for change in sorted(shown, key=lambda change: order[id(change)]):
        costs = (f"{value:+.4g}" for value in (change.energy_uj, change.latency_ms, change.size_kb))
        table.add_row(change.layer, change.part, change.first, change.second, *costs)
    table.add_section()
    if len(shown) < len(found.changes):
        table.add_row(f"{len(found.changes) - len(shown)} smaller ones", "", "", "", "", "", "")
    table.add_row("beyond their sum", "", "", "", *(f"{value:+.4g}" for value in found.together.values()))
    for name, totals in (("A", found.first), ("B", found.second)):
        table.add_row(f"plan {name}", "", "", "", *(f"{value:.5g}" for value in totals.values()))
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)
    for name, document in (("A", first), ("B", second)):
        sys.stdout.write(f"{name}: {drops(document)}\n")


def drops(document: Document) -> str:
    """Returns what a plan states about its accuracy, in words."""
    accuracy = document["accuracy"]
    texts = [f"predicted drop {accuracy['predicted_drop_points']:.2f} points"]
    texts += [
        f"{split} {accuracy[split]['drop_points']:.2f} on {accuracy[split]['images']} images"
        for split in ("validation", "test")
        if accuracy[split] is not None
    ]
    return ", ".join(texts)


if __name__ == "__main__":
    sys.exit(main())
