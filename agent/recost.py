"""Command: the price of a plan on another accelerator.

python -m agent.recost plan.json --hw OTHER [--net NET] [--view normalised|joules] [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from agent.terminal import add_output_flags, write_json
from hwmodels.accelerator import VIEWS, Accelerator
from hwmodels.loader import load as load_hardware
from plan.command import DONE, Parser, run_command
from plan.document import Document, load

if TYPE_CHECKING:
    from agent.transfer import Prices

SHOWN = 20
FILE_WIDTH = 120
UNITS = {"energy": "uJ", "latency": "ms", "size": "kB"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the prices, 2 when the plan, its network or the hardware cannot be used."""
    parser = Parser(prog="python -m agent.recost", description="The price of a plan on another accelerator.")
    parser.add_argument("plan", metavar="PLAN", help="a plan.json")
    parser.add_argument("--hw", required=True, help="the other hardware: a preset's name or a .toml file")
    parser.add_argument("--net", help="the network, when it moved or is code in a file (default: as the plan says)")
    parser.add_argument("--view", choices=VIEWS, help="energy view (default: the hardware's own)")
    add_output_flags(parser)
    return run_command(lambda: _recost(parser, arguments))


def _recost(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    document, accelerator = load(Path(options.plan)), load_hardware(options.hw)
    from agent.plan_network import network_of_plan  # imported here: torch, which a broken plan need not wait for
    from agent.transfer import priced

    network, view = network_of_plan(document, options.net), options.view or accelerator.energy_view
    prices = {each: priced(network, document, accelerator, each) for each in VIEWS}
    if options.json:
        write_json({"plan": options.plan, "view": view, **prices_json(document, accelerator, prices)})
    elif not options.quiet:
        _show(document, accelerator, prices, view)
    return DONE


def prices_json(document: Document, accelerator: Accelerator, prices: Mapping[str, Prices]) -> dict[str, Any]:
    """Returns what a plan costs on another accelerator in every energy view, units in the names, as one object."""
    made = {name: document["hardware"][name] for name in ("name", "energy_view")}
    views = {view: {"dense": _named(each.dense), "plan": _named(each.plan)} for view, each in prices.items()}
    savings = {view: {name: each.saving(name) for name in UNITS} for view, each in prices.items()}
    replaced = next(iter(prices.values())).masked
    return {
        "hardware": accelerator.name,
        "costs": views,
        "savings": savings,
        "found_on": {**made, "savings": document["savings"]},
        "not_executable": [asdict(each) for each in replaced],
    }


def _named(costs: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_{UNITS[name].lower()}": cost for name, cost in costs.items()}


def _show(document: Document, accelerator: Accelerator, prices: Mapping[str, Prices], view: str) -> None:
    """Prints the prices beside those of the plan's own accelerator, and what cannot be executed."""
    made, shown = document["hardware"], prices[view]
    table = Table(title=f"found on {made['name']} ({made['energy_view']}), priced on {accelerator.name} ({view})")
    headings = ("", f"dense on {accelerator.name}", "plan there", "saved there", f"saved on {made['name']}")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, unit in UNITS.items():
        table.add_row(f"{name}, {unit}", *_cells(shown, name), f"{document['savings'][name]:.1%}")
    for other in VIEWS:
        if other != view:
            table.add_row(f"energy, uJ, {other}", *_cells(prices[other], "energy"), "")
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)
    lines = [f"{masked}\n" for masked in shown.masked]
    sys.stdout.writelines(lines[:SHOWN])
    cut = f", {SHOWN} of them shown" if len(lines) > SHOWN else ""
    sys.stdout.write(f"choices of the plan not executable on {accelerator.name}: {len(lines)}{cut}\n")


def _cells(prices: Prices, quantity: str) -> tuple[str, ...]:
    """Returns dense cost, the plan's, and what it saves, as text."""
    return f"{prices.dense[quantity]:.5g}", f"{prices.plan[quantity]:.5g}", f"{prices.saving(quantity):.1%}"


if __name__ == "__main__":
    sys.exit(main())
