"""Command: cost of every layer of a network on a hardware, split by memory level, and what bounds its latency.

python -m hwmodels.report --net NET --hw HW [--bits 8] [--plan plan.json] [--csv F] [--plot F.png]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hwmodels.accelerator import LEVELS, VIEWS, Accelerator, Cost, FloatArray
from hwmodels.assignments import dense
from hwmodels.bounds import Bounds, bounds_of
from hwmodels.cost_plot import words, write_plot
from hwmodels.layer_costs import LayerCost, layer_costs, write_csv
from hwmodels.loader import load
from hwmodels.mapping import OBJECTIVES
from hwmodels.objective import with_objective
from plan import document
from plan.assignment import Assignment
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError
from plan.layer import Network

FILE_WIDTH = 170


@dataclass(frozen=True)
class Subject:
    """What is priced: a network and what became of its layers, in words too.

    baseline: for a plan the dense network that its savings are against; notes tell what had to be replaced
    """

    network: Network
    assignment: Assignment
    words: str
    baseline: Assignment | None = None
    baseline_bits: int = 0
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when the network, the plan, the hardware or a value cannot be used."""
    return run_command(lambda: _report(_parser().parse_args(arguments)))


def _report(options: argparse.Namespace) -> int:
    accelerator = with_objective(load(options.hw), options.map_objective)
    subject = _subject(options, accelerator)
    view = options.view or accelerator.energy_view
    costs = {each: accelerator.evaluate(subject.network, subject.assignment, view=each) for each in VIEWS}
    bounds = bounds_of(accelerator, subject.network, subject.assignment)
    rows = layer_costs(subject.network, costs[view], bounds)
    title = f"{subject.network.name} on {accelerator.name}, {subject.words}, {view} energy, one image"
    if options.csv:
        write_csv(Path(options.csv), rows)
    if options.plot:
        bandwidth = bounds.roofline.dram_bytes_per_cycle if bounds.roofline else None
        write_plot(Path(options.plot), title, rows[:-1], bandwidth)
    closing = [*_closing(accelerator, subject, costs), *_ceilings(bounds), *subject.notes]
    _print_table(Console(width=None if sys.stdout.isatty() else FILE_WIDTH), title, rows)
    sys.stdout.writelines(f"{line}\n" for line in closing)
    return DONE


def _closing(accelerator: Accelerator, subject: Subject, costs: Mapping[str, Cost]) -> list[str]:
    """Returns the lines under the table: energy in both views, and what a plan saves in each."""
    totals = " and ".join(f"{cost.energy_uj[0]:.5g} uJ in the {view} view" for view, cost in costs.items())
    lines = [f"energy of all layers: {totals}"]
    if subject.baseline is not None:
        dense_costs = {view: accelerator.evaluate(subject.network, subject.baseline, view=view) for view in VIEWS}
        saved = {f"energy ({view} view)": _saved(costs[view].energy_uj, dense_costs[view].energy_uj) for view in VIEWS}
        after, before = costs[VIEWS[0]], dense_costs[VIEWS[0]]
        saved |= {"latency": _saved(after.latency_ms, before.latency_ms), "size": _saved(after.size_kb, before.size_kb)}
        words = ", ".join(f"{name} {share}" for name, share in saved.items())
        lines.append(f"saved against dense at {subject.baseline_bits} bits on {accelerator.name}: {words}")
    return lines


def _ceilings(bounds: Bounds) -> list[str]:
    """Returns the line of the machine's ceilings, with the area of its elements where that is known."""
    roofline = bounds.roofline
    if roofline is None:
        return []
    peak, area = roofline.peak_macs_per_cycle, roofline.array_area_mm2
    size = "" if area is None else f"; its elements take {area:.3g} mm2, {peak / area:.4g} MAC a cycle and mm2"
    return [f"at full width at most {peak:g} MAC and {roofline.dram_bytes_per_cycle:.3g} bytes of DRAM a cycle{size}"]


def _saved(after: FloatArray, before: FloatArray) -> str:
    return f"{1.0 - after[0] / before[0]:.1%}"


def _parser() -> Parser:
    parser = Parser(prog="python -m hwmodels.report", description=__doc__)
    parser.add_argument("--net", help="network: a name or path/file.py:function (default: the plan's)")
    parser.add_argument("--hw", required=True, help="hardware: a preset's name or the path of a .toml file")
    parser.add_argument("--bits", type=int, help="weights and activations; default 8, or the only width there is")
    parser.add_argument("--plan", help="a plan.json to price instead of the dense network")
    parser.add_argument("--view", choices=VIEWS, help="energy view; default the hardware's own")
    parser.add_argument(
        "--map-objective", choices=OBJECTIVES, help="what mappings minimise; default the hardware's own"
    )
    parser.add_argument("--input-size", type=int, default=224, help="height and width of the image (default 224)")
    parser.add_argument("--csv", help="also write the table to this file")
    parser.add_argument("--plot", help="also draw energy by level and operand, latency, and the roofline to this .png")
    return parser


def _subject(options: argparse.Namespace, accelerator: Accelerator) -> Subject:
    if options.plan:
        return _planned(options, accelerator)
    if not options.net:
        raise InvalidValueError("nothing to price; give --net NET or --plan plan.json")
    bits = _bits(accelerator, options.bits)
    network = _trace(options.net, options.input_size)
    return Subject(network, dense(network, bits), f"dense at {bits} bits")


def _planned(options: argparse.Namespace, accelerator: Accelerator) -> Subject:
    """Returns a plan's network and layers; what this hardware cannot execute is replaced and noted."""
    from agent.plan_network import network_of_plan  # imported here: loads torch, which wrong files need not wait for
    from agent.transfer import transfer

    content = document.load(Path(options.plan))
    network = network_of_plan(content, options.net)
    moved = transfer(
        network, document.schemes_of(content), accelerator.capabilities, content["baseline"]["weight_bits"]
    )
    return Subject(
        network,
        moved.space.resolve(moved.choice[None]),
        f"plan {options.plan}",
        baseline=moved.space.resolve(moved.space.baseline[None]),
        baseline_bits=moved.space.baseline_bits,
        notes=tuple(str(masked) for masked in moved.masked),
    )


def _bits(accelerator: Accelerator, asked: int | None) -> int:
    capabilities = accelerator.capabilities
    allowed = [bits for bits in capabilities.weight_bits if bits in capabilities.activation_bits]
    if asked is None:
        return 8 if 8 in allowed else allowed[-1]
    if asked not in allowed:
        raise InvalidValueError(
            f"--bits {asked} is not supported by '{accelerator.name}' (supported: {', '.join(map(str, allowed))})"
        )
    return asked


def _trace(net: str, pixels: int) -> Network:
    """Returns the traced network with untrained weights: costs need shapes only."""
    from networks import trace, zoo  # imported here: loads torch, which wrong names need not wait for

    source = zoo.build(net, None, (3, pixels, pixels))
    return trace.trace(source.module, source.input_size, source.name).network


def _print_table(console: Console, title: str, rows: Sequence[LayerCost]) -> None:
    table = Table(title=title)
    headings = ("layer", "uJ", *LEVELS, "ms", "bound by", "of peak", "MAC/byte", "kB")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("layer", "bound by") else "right")
    for row in rows:
        ratios = (f"{row.work.utilisation:.0%}", f"{row.work.macs_per_byte:.3g}") if row.work else ("", "")
        table.add_row(
            row.name,
            f"{row.energy_uj:.5g}",
            *(f"{row.level_uj[level]:.4g}" for level in LEVELS),
            f"{row.latency_ms:.4g}",
            f"{words(row.bound_by)} {row.limit_ms[row.bound_by] / row.latency_ms:.0%}",
            *ratios,
            f"{row.size_kb:.5g}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
