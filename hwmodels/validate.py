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

from rich.console import Console
from rich.table import Table

from hwmodels.eyeriss import Eyeriss
from hwmodels.loader import load
from hwmodels.mapping import OBJECTIVES
from hwmodels.scnn import Scnn
from hwmodels.systolic import Systolic
from hwmodels.validation.card import Row, figure10_rows, mean_errors, measured_rows
from hwmodels.validation.published import MEASURED_TABLES, figure10, measured_table
from hwmodels.validation.sparse import scnn_rows, speedup_rows
from hwmodels.validation.tools import TOOLS, Agreement, agreement, simulated_rows
from plan.errors import EspalierError, FileFormatError, InvalidValueError, MissingFileError

CHIP = "eyeriss_v1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the card, 2 when the reference folder cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m hwmodels.validate", description=__doc__)
    parser.add_argument("--reference", help="folder with other tools' results (layers.json, nn_dataflow.json, ...)")
    parser.add_argument(
        "--map-objective",
        choices=OBJECTIVES,
        help="what our mappings minimise (default: the chip's own against silicon, energy against other tools)",
    )
    options = parser.parse_args(arguments)
    console = Console(width=120)
    try:
        chip = _chip()
        if options.map_objective:
            chip = chip.with_parameters(replace(chip.parameters, objective=options.map_objective))
        objective = options.map_objective or "energy"
        agreements = _agreements(chip, Path(options.reference), objective) if options.reference else []
        simulated = _simulated(Path(options.reference)) if options.reference else []
        print_card(console, chip)
    except EspalierError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if simulated:
        _print_rows(console, "16 x 16 weight stationary: cycles of SCALE-Sim 3.0.0", simulated)
    for found in agreements:
        _print_agreement(console, found)
    return 0


def _chip() -> Eyeriss:
    chip = load(CHIP)
    if not isinstance(chip, Eyeriss):
        raise InvalidValueError(f"preset '{CHIP}' is no row-stationary model; reinstall the package")
    return chip


def print_card(console: Console, chip: Eyeriss) -> None:
    """Prints every table and its mean errors."""
    for name in MEASURED_TABLES:
        table = measured_table(name)
        for given in (True, False):
            rows = measured_rows(chip, table, mapping_given=given)
            mapping = "mapping given" if given else "mapping by policy"
            _print_rows(console, f"{name}, {mapping}. {table.source}", rows)
    figure = figure10()
    _print_rows(console, f"figure 10. {figure.source}", figure10_rows(chip, figure, measured_table("alexnet")))
    _print_rows(console, "arrays that skip zeros; densities assumed, see sparse.toml", _sparse_rows(chip))


def _sparse_rows(chip: Eyeriss) -> list[Row]:
    """Returns the published speed-ups of the two arrays that skip zeros of both operands."""
    sparse, scnn = load("eyeriss_v2"), load("scnn")
    if not isinstance(sparse, Eyeriss) or not isinstance(scnn, Scnn):
        raise InvalidValueError("a preset is of another model than it was; reinstall the package")
    return [*speedup_rows(chip, sparse), *scnn_rows(scnn)]


def _print_rows(console: Console, title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title)
    for heading in ("layer", "quantity", "published", "model", "error"):
        table.add_column(heading, justify="left" if heading in ("layer", "quantity") else "right")
    for row in rows:
        table.add_row(row.layer, row.quantity, f"{row.published:g}", f"{row.model:.4g}", f"{row.error:+.1%}")
    console.print(table)
    summary = ", ".join(f"{quantity} {error:.1%}" for quantity, error in mean_errors(rows).items())
    console.print(f"mean absolute error: {summary}\n")


def _agreements(chip: Eyeriss, folder: Path, objective: str) -> list[Agreement]:
    shapes = _read(folder / "layers.json", "layers")
    return [agreement(chip, name, shapes, _read(folder / f"{name}.json", "layers"), objective) for name in TOOLS]


def _simulated(folder: Path) -> list[Row]:
    model = load("systolic")
    if not isinstance(model, Systolic):
        raise InvalidValueError("preset 'systolic' is no systolic array; reinstall the package")
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
    for name, ratio in found.furthest(5):
        console.print(f"  {name}: {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
