"""Command: the density under which each granularity starts to pay, for every hardware and storage format.

python -m hwmodels.break_even [--hw NAME ...] [--bits 8] [--saving 0.01] [--csv F] [--plot F.png]

One layer of 256 channels and filters on 14 x 14 pixels (3 x 3, or 1 x 1 for rows and columns of blocks) against itself
dense; densities are multiples of 1/32.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hwmodels.accelerator import Accelerator
from hwmodels.loader import load, preset_names
from hwmodels.pruning_curves import QUANTITIES, Curve, best_formats, curves
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError, UnwritableError

HEADINGS = ("hardware", "granularity", "storage", "layer", *QUANTITIES)
PANEL_INCHES = (4.5, 3.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when a hardware or a value cannot be used."""
    return run_command(lambda: _break_even(_parser().parse_args(arguments)))


def _break_even(options: argparse.Namespace) -> int:
    if not 0.0 < options.saving < 1.0 or not 0.0 <= options.zeros < 1.0:
        raise InvalidValueError("--saving must be between 0 and 1, --zeros from 0 to below 1")
    found = [
        curve
        for accelerator in map(load, options.hw)
        for curve in curves(accelerator, _bits(accelerator, options.bits), options.zeros)
    ]
    rows = [_row(curve, options.saving) for curve in found]
    if options.csv:
        _write_csv(Path(options.csv), rows)
    if options.plot:
        _write_plot(Path(options.plot), best_formats(found))
    title = f"largest density that saves at least {options.saving:.0%} (- : none does)"
    table = Table(*HEADINGS, title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    return DONE


def _parser() -> Parser:
    parser = Parser(prog="python -m hwmodels.break_even", description=__doc__)
    parser.add_argument(
        "--hw", nargs="+", default=preset_names(), help="presets or .toml files (default: every preset)"
    )
    parser.add_argument("--bits", type=int, default=8, help="of weights and activations, or the only width (default 8)")
    parser.add_argument("--zeros", type=float, default=0.4, help="fraction of zeros in feature maps (default 0.4)")
    parser.add_argument("--saving", type=float, default=0.01, help="what counts as paying (default 0.01)")
    parser.add_argument("--csv", help="also write the table to this file")
    parser.add_argument("--plot", help="also draw energy and latency against density to this .png")
    return parser


def _bits(accelerator: Accelerator, asked: int) -> int:
    """Returns the asked width, or the hardware's own where it has only one."""
    widths = accelerator.capabilities.weight_bits
    return widths[0] if len(widths) == 1 else asked


def _row(curve: Curve, saving: float) -> list[str]:
    densities = (curve.break_even(quantity, saving) for quantity in QUANTITIES)
    texts = ("-" if density is None else f"{density:.3g}" for density in densities)
    return [curve.hardware, curve.granularity, curve.storage, curve.layer, *texts]


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADINGS, *rows])
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror}; choose another --csv") from error


def _write_plot(path: Path, found: Sequence[Curve]) -> None:
    """Draws per hardware energy and latency of every granularity in its best format against density."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: the table needs no plots
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.hardware for curve in found))
    width, height = PANEL_INCHES
    figure = Figure(figsize=(2 * width + 3.0, height * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, name in zip(figure.subplots(len(names), 2, squeeze=False), names, strict=True):
        for axes, quantity in zip(row, ("energy", "latency"), strict=True):
            for curve in found:
                if curve.hardware == name:
                    marker = "o" if len(curve.densities) == 1 else ""
                    axes.plot(curve.densities, getattr(curve, quantity), marker=marker, label=curve.granularity)
            axes.axhline(1.0, color="black", linewidth=0.5)
            axes.set_ylabel(f"{quantity}, dense = 1")
            axes.set_title(name)
            axes.set_xlabel("density")
        row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise UnwritableError(f"cannot write {path}: {error}; choose another --plot, for example pays.png") from error


if __name__ == "__main__":
    sys.exit(main())
