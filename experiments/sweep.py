"""Command: networks x accelerators x limits x seeds, on this machine or on a Ray cluster, in one table and one plot.

python -m experiments.sweep sweep.toml [--backend process|ray] [--workers 2] [--address auto] [--out DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agent.progress import Display, make_display
from agent.terminal import console_for, write_json
from experiments.request import worker_count
from experiments.sweep_backends import BACKENDS, Places
from experiments.sweep_cell import Cell, Outcome
from experiments.sweep_file import read_sweep
from experiments.sweep_table import FAILED, print_table, write_results
from plan.command import DIFFERENT, DONE, Parser, run_command
from plan.errors import UnwritableError


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every cell has a plan, 1 when some failed, 2 when the request cannot be used."""
    parser = Parser(prog="python -m experiments.sweep", description="A sweep in one table.", allow_abbrev=False)
    parser.add_argument("file", metavar="SWEEP.toml", help="what to sweep over")
    parser.add_argument("--backend", choices=tuple(BACKENDS), default="process", help="where cells run")
    parser.add_argument("--workers", default="2", help="cells at a time with --backend process (default: 2)")
    parser.add_argument("--address", help="Ray cluster, for example auto (default: a new one on this machine)")
    parser.add_argument("--out", help="folder of the results (default: runs/NAME of the file); continued where it is")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, progress on stderr")
    return run_command(lambda: _sweep(parser.parse_args(arguments)))


def _sweep(options: argparse.Namespace) -> int:
    file = Path(options.file)
    cells = read_sweep(file)
    out = Path(options.out) if options.out else Path("runs") / file.stem
    places = Places(worker_count(options.workers), options.address)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot create {out}: {error.strerror}; choose another --out") from error
    with make_display(console_for(as_json=options.json), quiet=options.quiet) as display:
        outcomes = _run(cells, out.absolute(), options.backend, places, display)
    written = write_results(out, outcomes)
    failed = sum(outcome.row["status"] == FAILED for outcome in outcomes)
    if options.json:
        files = [str(path) for path in written]
        write_json({"cells": len(cells), "failed": failed, "files": files, "rows": [each.row for each in outcomes]})
    elif not options.quiet:
        print_table(Console(), outcomes)
        sys.stdout.write("".join(f"{path}\n" for path in written))
    return DIFFERENT if failed else DONE


def _run(cells: Sequence[Cell], out: Path, backend: str, places: Places, display: Display) -> list[Outcome]:
    """Returns the outcomes in the order of the cells; the table is rewritten as each one ends."""
    display.phase("sweep", len(cells))
    found: dict[str, Outcome] = {}
    for outcome in BACKENDS[backend](cells, out, places):
        found[outcome.name] = outcome
        if outcome.row["status"] == FAILED:
            display.note(f"{outcome.name}: {outcome.row['error']}")
        ordered = [found[cell.name] for cell in cells if cell.name in found]
        write_results(out, ordered, plot=False)
        display.advance(len(found), len(cells), outcome.name)
    return [found[cell.name] for cell in cells]


if __name__ == "__main__":
    sys.exit(main())
