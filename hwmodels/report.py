"""Command: cost of every layer of a network on a hardware, split by memory level.

python -m hwmodels.report --net NET --hw HW [--bits 8] [--view normalised|joules] [--csv FILE]
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS, VIEWS, Accelerator, Cost
from hwmodels.assignments import dense
from hwmodels.loader import load
from plan.errors import EspalierError, InvalidValueError, UnwritableError
from plan.layer import Network

FILE_WIDTH = 140


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer: uJ in all and per level and operand, ms in all and per part, stored kB."""

    name: str
    energy_uj: float
    level_uj: dict[str, float]
    operand_uj: dict[str, float]
    latency_ms: float
    part_ms: dict[str, float]
    size_kb: float

    @property
    def bound_by(self) -> str:
        """The largest part of the latency."""
        return max(self.part_ms, key=lambda part: self.part_ms[part])

    def record(self) -> dict[str, str | float]:
        """Returns one row of the CSV file; the quantity's unit ends its name."""
        return {
            "layer": self.name,
            "energy_uj": self.energy_uj,
            **{f"{level}_uj": value for level, value in self.level_uj.items()},
            **{f"{operand}_uj": value for operand, value in self.operand_uj.items()},
            "latency_ms": self.latency_ms,
            **{f"{part}_ms": value for part, value in self.part_ms.items()},
            "size_kb": self.size_kb,
            "bound_by": self.bound_by,
        }


def layer_costs(network: Network, cost: Cost) -> list[LayerCost]:
    """Returns the layers' costs under the first plan of a batch, and last their total."""
    names = [layer.name for layer in network.layers]
    return [_layer_cost(name, cost, slice(at, at + 1)) for at, name in enumerate(names)] + [
        _layer_cost("total", cost, slice(None))
    ]


def _layer_cost(name: str, cost: Cost, layers: slice) -> LayerCost:
    to_ms = 1.0 / (cost.clock_mhz * 1e3)
    return LayerCost(
        name=name,
        energy_uj=float(cost.energy_pj[0, layers].sum() * 1e-6),
        level_uj={level: float(cost.level_pj(level)[0, layers].sum() * 1e-6) for level in LEVELS},
        operand_uj={operand: float(cost.operand_pj(operand)[0, layers].sum() * 1e-6) for operand in OPERANDS},
        latency_ms=float(cost.latency_cycles[0, layers].sum() * to_ms),
        part_ms={part: float(cost.latency_parts_cycles[part][0, layers].sum() * to_ms) for part in LATENCY_PARTS},
        size_kb=float(cost.size_bits[0, layers].sum() / 8e3),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when the network, the hardware or a value cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        accelerator = load(options.hw)
        bits = _bits(accelerator, options.bits)
        network = _trace(options.net, options.input_size)
        view = options.view or accelerator.energy_view
        rows = layer_costs(network, accelerator.evaluate(network, dense(network, bits), view=view))
        if options.csv:
            write_csv(Path(options.csv), rows)
    except EspalierError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    title = f"{network.name} on {accelerator.name}, dense at {bits} bits, {view} energy, one image"
    _print_table(Console(width=None if sys.stdout.isatty() else FILE_WIDTH), title, rows)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hwmodels.report", description=__doc__)
    parser.add_argument("--net", required=True, help="network: a name or path/file.py:function")
    parser.add_argument("--hw", required=True, help="hardware: a preset's name or the path of a .toml file")
    parser.add_argument("--bits", type=int, help="weights and activations; default 8, or the only width there is")
    parser.add_argument("--view", choices=VIEWS, help="energy view; default the hardware's own")
    parser.add_argument("--input-size", type=int, default=224, help="height and width of the image (default 224)")
    parser.add_argument("--csv", help="also write the table to this file")
    return parser


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


def write_csv(path: Path, rows: Sequence[LayerCost]) -> None:
    """Writes one line a layer and one for the total.

    Raises:
        UnwritableError: the file cannot be written.
    """
    records = [row.record() for row in rows]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror}; choose another --csv") from error


def _print_table(console: Console, title: str, rows: Sequence[LayerCost]) -> None:
    table = Table(title=title)
    headings = ("layer", "uJ", *LEVELS, "ms", "bound by", "kB")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("layer", "bound by") else "right")
    for row in rows:
        levels = [f"{row.level_uj[level]:.4g}" for level in LEVELS]
        table.add_row(
            row.name,
            f"{row.energy_uj:.5g}",
            *levels,
            f"{row.latency_ms:.4g}",
            row.bound_by,
            f"{row.size_kb:.5g}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
