"""Command: prints, per published table and layer, the published figure, the model's and the error.

python -m hwmodels.validate [--reference DIR] [--map-objective energy|latency|edp]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from hwmodels.eyeriss import Eyeriss
from hwmodels.loader import load
from hwmodels.mapping import OBJECTIVES
from hwmodels.scnn import Scnn
from hwmodels.systolic import Systolic
from hwmodels.validation.card import Row, figure10_rows, mean_errors, measured_rows
from hwmodels.validation.precision import bit_serial_rows, mac_rows
from hwmodels.validation.published import MEASURED_TABLES, figure10, measured_table
from hwmodels.validation.sparse import compared, efficiency_rows, scnn_rows, speedup_rows
from hwmodels.validation.tools import COMPARED_LEVELS, TOOLS, Agreement, agreement, simulated_rows
from plan.command import DONE, Parser, run_command
from plan.errors import FileFormatError, InvalidValueError, MissingFileError

CHIP = "eyeriss_v1"
FILE_WIDTH = 140
FURTHEST = 8
POLICY_NOTE = (
    "The policy decides what happens while the array is processing. The total adds feature maps moved over the link, "
    "which deviate with the given mapping too; docs/cost_model.md tells by how much."
)
Known = TypeVar("Known")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the card, 2 when the reference folder cannot be used."""
    parser = Parser(prog="python -m hwmodels.validate", description=__doc__)
    parser.add_argument("--reference", help="folder with other tools' results (layers.json, nn_dataflow.json, ...)")
    parser.add_argument(
        "--map-objective",
        choices=OBJECTIVES,
        help="what our mappings minimise (default: the chip's own against silicon, energy against other tools)",
    )
    return run_command(lambda: _validate(parser.parse_args(arguments)))


def _validate(options: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    chip = _preset(CHIP, Eyeriss)
    if options.map_objective:
        chip = chip.with_parameters(replace(chip.parameters, objective=options.map_objective))
    objective = options.map_objective or "energy"
    agreements = _agreements(chip, Path(options.reference), objective) if options.reference else []
    simulated = _simulated(Path(options.reference)) if options.reference else []
    print_card(console, chip)
    if simulated:
        _print_rows(console, "16 x 16 weight stationary: cycles of SCALE-Sim 3.0.0", simulated)
    for found in agreements:
        _print_agreement(console, found)
    return DONE


def _preset(name: str, model: type[Known]) -> Known:
    """Returns a preset that must be of one model.

    Raises:
        InvalidValueError: it is of another.
    """
    found = load(name)
    if not isinstance(found, model):
        raise InvalidValueError(f"preset '{name}' is of another model than it was; reinstall the package")
    return found


def print_card(console: Console, chip: Eyeriss) -> None:
    """Prints every table and its mean errors."""
    for name in MEASURED_TABLES:
        table = measured_table(name)
        for given in (True, False):
            rows = measured_rows(chip, table, mapping_given=given)
            mapping = "mapping given" if given else "mapping by policy"
            _print_rows(console, f"{name}, {mapping}. {table.source}", rows, "" if given else POLICY_NOTE)
    figure = figure10()
    _print_rows(console, f"figure 10. {figure.source}", figure10_rows(chip, figure, measured_table("alexnet")))
    sparse, stripes = _preset("eyeriss_v2", Eyeriss), _preset("stripes", Systolic)
    networks = compared(chip, sparse)
    _print_rows(console, "eyeriss_v2 against eyeriss_v1; densities assumed, see sparse.toml", speedup_rows(networks))
    _print_rows(console, "eyeriss_v2, efficiency without DRAM", efficiency_rows(networks, sparse))
    _print_rows(console, "scnn against a dense array of as many multipliers", scnn_rows(_preset("scnn", Scnn)))
    _print_rows(console, "MAC energy", mac_rows(_preset("eyeriss", Eyeriss), _preset("bitfusion", Systolic)))
    _print_rows(console, "bit-serial inputs against 16-bit ones", bit_serial_rows(stripes))


def _print_rows(console: Console, title: str, rows: Sequence[Row], note: str = "") -> None:
    """Prints a table, the mean error of every quantity, and why the rows deviate where they say so."""
    table = Table(title=title)
    for heading in ("layer", "quantity", "published", "model", "error"):
        table.add_column(heading, justify="left" if heading in ("layer", "quantity") else "right", no_wrap=True)
    for row in rows:
        table.add_row(row.layer, row.quantity, f"{row.published:g}", f"{row.model:.4g}", f"{row.error:+.1%}")
    console.print(table)
    reasons = dict.fromkeys((row.layer, row.quantity, row.reason) for row in rows if row.reason)
    for layer, quantity, reason in reasons:
        console.print(f"{layer}, {quantity}: {reason}", highlight=False)
    summary = ", ".join(f"{quantity} {error:.1%}" for quantity, error in mean_errors(rows).items())
    console.print(f"mean absolute error: {summary}")
    console.print(f"{note}\n" if note else "", highlight=False)


def _agreements(chip: Eyeriss, folder: Path, objective: str) -> list[Agreement]:
    shapes = _read(folder / "layers.json", "layers")
    return [agreement(chip, name, shapes, _read(folder / f"{name}.json", "layers"), objective) for name in TOOLS]


def _simulated(folder: Path) -> list[Row]:
    model = _preset("systolic", Systolic)
    shapes = _read(folder / "layers.json", "layers")
    return simulated_rows(model, shapes, _read(folder / "scalesim_ws16.json", "layers"))


def _read(path: Path, key: str) -> list[dict[str, object]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"cannot read {path}: {error.strerror}; --reference names the folder") from error
    except ValueError as error:
        raise FileFormatError(str(path), [f"not valid JSON: {error}"]) from error
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise FileFormatError(str(path), [f"needs a list '{key}'"])
    entries: list[dict[str, object]] = content[key]
    return entries


def _print_agreement(console: Console, found: Agreement) -> None:
    console.print(
        f"energy against {found.tool}, our mappings by {found.objective}, batch 1: {found.layers} layers, "
        f"median ratio {found.median_ratio:.2f} ({min(found.ratios):.2f}-{max(found.ratios):.2f}), "
        f"rank correlation {found.rank_correlation:.3f}"
    )
    table = Table(title=f"layers that differ most from {found.tool}: ours / theirs, and what each level adds to it")
    headings = ("layer", "ratio", *COMPARED_LEVELS, "DRAM, ours", "theirs", "our weight reads", "our input reads")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    furthest = found.furthest(FURTHEST)
    for layer in furthest:
        reads = (layer.moved, layer.their_moved, layer.weight_reads, layer.input_reads)
        shares = (f"{layer.levels[level]:+.1%}" for level in COMPARED_LEVELS)
        table.add_row(layer.layer, f"{layer.ratio:.2f}", *shares, *(f"{value:.1f} x" for value in reads))
    console.print(table)
    console.print(
        "DRAM: words moved, in multiples of what must move at least; reads: how often our mapping fetches each word"
    )
    for level, reason in found.reasons(furthest).items():
        console.print(f"{level}: {reason}", highlight=False)
    console.print()


if __name__ == "__main__":
    sys.exit(main())
