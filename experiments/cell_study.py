"""Command: how well the error table's estimates agree with really repaired layers, on random cells.

python -m experiments.cell_study --net NET --weights FILE --data DATA --hw eyeriss [--cells 200] [--seed 0]
    [--csv cells.csv] [--plot cells.png]

A cell is one layer under one method, density and weight width. Its layer is repaired and its expected loss increase
taken from the repaired weights, in the metric of the estimates; beside stand the closed form alone and the estimate
that the table holds, whose scale a few repaired cells per layer fix. What whole networks really lose is another
question, that of `experiments.fidelity`. Every line is written as soon as it is measured; a second call measures what
is missing.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from agent.build import Assembly, ProfileStatistics, use_threads
from agent.prediction import cached_table
from agent.progress import Display, make_display
from compress.measure import Measurer
from envs.accuracy.error_table import ErrorTable
from envs.accuracy.fidelity import fidelity
from envs.accuracy.repaired_cells import scheme_at
from envs.accuracy.sensitivity import build_error_table
from experiments.cell_plot import draw_cells
from experiments.study_inputs import add_source_flags, prepared, shown_on
from plan.assignment import FloatArray
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError
from plan.rows import read_rows, write_rows
from plan.space import Space

ESTIMATES = "uncorrected"
"""The proxy whose table holds second-order errors as repaired cells scale them, before measured losses do."""
FEWEST_CELLS = 3
SMALLEST_ERROR = 1e-12
DRAWS_PER_CELL = 20


@dataclass(frozen=True)
class Cell:
    """One cell: errors in nats of loss.

    closed_form: of the closed form alone; estimated: as the table holds it; repaired: of the really repaired layer
    """

    network: str
    weights: str
    hardware: str
    layer: str
    method: str
    density: float
    weight_bits: int
    closed_form: float
    estimated: float
    repaired: float

    @property
    def key(self) -> tuple[object, ...]:
        """What is measured once."""
        return (self.network, self.weights, self.hardware, self.layer, self.method, self.density, self.weight_bits)


@dataclass(frozen=True)
class Agreement:
    """How estimates agree with repaired errors: rank correlation with its interval, and factors between them.

    median_factor: of estimate over repaired error; within_two: share of cells less than a factor of two apart
    """

    spearman: float
    low: float
    high: float
    median_factor: float
    within_two: float


Place = tuple[int, int, int, int]
"""Layer, method, density and weight width, as indices."""


def drawn_cells(space: Space, cells: int, seed: int) -> list[Place]:
    """Returns different random legal cells: layer, then its method, density and width, each drawn uniformly.

    Fewer where so many draws do not find as many.
    """
    rng, found = np.random.default_rng(seed), dict[Place, None]()
    for _ in range(DRAWS_PER_CELL * cells):
        if len(found) == cells:
            break
        layer = int(rng.integers(space.n_layers))
        method = int(rng.choice(np.flatnonzero(space.legal[layer].any(axis=1))))
        density = int(rng.choice(np.flatnonzero(space.legal[layer, method])))
        width = int(rng.choice(np.flatnonzero(space.weight_bits_legal[layer])))
        found[layer, method, density, width] = None
    return list(found)


def agreement(estimates: FloatArray, repaired: FloatArray) -> Agreement:
    """Returns how estimates (n,) agree with repaired errors (n,), both positive."""
    found = fidelity(estimates, repaired, seed=0)
    factors = np.maximum(estimates, SMALLEST_ERROR) / np.maximum(repaired, SMALLEST_ERROR)
    near = np.abs(np.log(factors)) < np.log(2.0)
    low, high = found.spearman_interval
    return Agreement(found.spearman, low, high, float(np.median(factors)), float(near.mean()))


def study(
    assembly: Assembly,
    measurer: Measurer,
    tables: tuple[ErrorTable, ErrorTable],
    places: Sequence[Place],
    known: Sequence[Cell],
    note: Callable[[list[Cell]], None],
) -> list[Cell]:
    """Returns the cells at the places; layers of cells that are known are not repaired again.

    Args:
        assembly: network, hardware and space.
        measurer: repairs layers.
        tables: closed forms alone, and the estimates.
        places: what is asked.
        known: cells measured before.
        note: told all cells so far after each.
    """
    before, found, space = {cell.key: cell for cell in known}, list[Cell](), assembly.space
    for layer, method, density, width in places:
        scheme = scheme_at(space, method, density, width)
        closed, estimated = (float(table.weight[layer, method, density, width]) for table in tables)
        new = Cell(
            network=assembly.network.name,
            weights=assembly.subject.weights_sha256,
            hardware=assembly.accelerator.name,
            layer=assembly.network.layers[layer].name,
            method=str(scheme.method),
            density=scheme.density,
            weight_bits=scheme.weight_bits,
            closed_form=closed,
            estimated=estimated,
            repaired=float("nan"),
        )
        same = before.get(new.key)
        repaired = measurer.layer_error(layer, scheme) if same is None else same.repaired
        found.append(replace(new, repaired=repaired))
        note(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when network, data or files cannot be used."""
    parser = Parser(prog="python -m experiments.cell_study", description="Estimated against repaired errors of layers.")
    add_source_flags(parser)
    parser.add_argument("--cells", type=int, default=200, help="cells to repair (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="draws the cells")
    parser.add_argument("--csv", default="cells.csv", help="read if it is there, and written line by line")
    parser.add_argument("--plot", help="PNG of estimated against repaired errors")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return run_command(lambda: _run(parser.parse_args(arguments)))


def _run(options: Namespace) -> int:
    if options.cells < FEWEST_CELLS:
        raise InvalidValueError(f"--cells {options.cells} (allowed: {FEWEST_CELLS} or more)")
    use_threads(torch.get_num_threads())
    with make_display(Console(stderr=True), quiet=options.quiet) as display:
        cells = _cells(options, display)
    _show(cells)
    if options.plot:
        repaired, estimated = (np.array([getattr(cell, of) for cell in cells]) for of in ("repaired", "estimated"))
        draw_cells(Path(options.plot), cells[0].network, repaired, estimated, [cell.method for cell in cells])
    return DONE


def _cells(options: Namespace, display: Display) -> list[Cell]:
    """Returns the cells after all of them are written."""
    path = Path(options.csv)
    known = read_rows(path, Cell, "a study of cells")
    assembly, measurer = prepared(options, display)
    display.phase("error table")
    closed = build_error_table(assembly.space, ProfileStatistics(assembly.profile, assembly.space), None)
    tables = closed, cached_table(assembly, measurer, ESTIMATES, shown_on(display))
    places = drawn_cells(assembly.space, options.cells, options.seed)
    display.phase("repairs", len(places))

    def note(cells: list[Cell]) -> None:
        keys = {cell.key for cell in cells}
        write_rows(path, Cell, [*(cell for cell in known if cell.key not in keys), *cells])
        display.advance(len(cells), len(places), cells[-1].layer)

    return study(assembly, measurer, tables, places, known, note)


def _show(cells: Sequence[Cell]) -> None:
    """Prints a line for the closed forms and one for the estimates."""
    table = Table(title=f"{cells[0].network}: errors of {len(cells)} cells against really repaired layers")
    for heading in ("errors", "Spearman", "95 %", "median factor", "within a factor of 2"):
        table.add_column(heading, justify="left" if heading == "errors" else "right")
    repaired = np.array([cell.repaired for cell in cells])
    for name, errors in (
        ("closed form alone", np.array([cell.closed_form for cell in cells])),
        ("estimate", np.array([cell.estimated for cell in cells])),
    ):
        found = agreement(errors, repaired)
        interval, near = f"[{found.low:.2f}, {found.high:.2f}]", f"{100 * found.within_two:.0f} %"
        table.add_row(name, f"{found.spearman:.3f}", interval, f"{found.median_factor:.2f}", near)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    sys.exit(main())
