"""Command: searchers against each other at equal measured evaluations.

python -m experiments.arena --nets resnet20,resnet50 --evaluations 60 --seeds 3 [--workers 2]
    [--contestants rivals,resnet20=learners,resnet20=ablations] [--docs docs/results.md]

Every cell (network, contestant, seed) is kept in its own folder under --out: a second start fills what is missing.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from agent.run_folder import short_name
from experiments.arena_page import table_of, write_page
from experiments.bouts import Bout, fill
from experiments.cells import ANSWERS, RESULT, Cell, Point, read_cell
from experiments.contestants import EVERYBODY, GROUPS, asked_for, contestants
from experiments.request import add_flags, check_counts, settings_of, worker_count
from experiments.standings import Standing, standing, union_hypervolumes
from plan.atomic import write_atomically
from plan.command import DONE, Parser, run_command

DROPS = (0.5, 1.0, 1.7)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after writing the tables of all cells that are there, 2 when the request cannot be used."""
    return run_command(lambda: _arena(_parser(), arguments))


def _parser() -> Parser:
    parser = Parser(prog="python -m experiments.arena", description="Searchers at equal measured evaluations.")
    parser.add_argument("--nets", required=True, help="networks, as --net of agent.train, separated by commas")
    add_flags(parser, evaluations=60, out="arena")
    parser.add_argument("--objective", default="energy", help="as of agent.train (default: energy)")
    parser.add_argument("--contestants", help=f"{GROUPS_HELP} (default: all of {_titles()})")
    parser.add_argument("--workers", default="2", help="cells at a time, one thread each (default: 2)")
    parser.add_argument("--docs", metavar="FILE", help="also put the table into this file, between its markers")
    parser.add_argument("--dry-run", action="store_true", help="name the missing cells and stop")
    return parser


GROUPS_HELP = f"titles, {', '.join(GROUPS)} or {EVERYBODY}, separated by commas; for one network after NET="


def _titles() -> str:
    return ", ".join(contestants().names())


def _arena(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    check_counts(options)
    workers = worker_count(options.workers)
    out = Path(options.out)
    bouts = {net: _bouts(options, net, out) for net in options.nets.split(",")}
    if not options.dry_run:
        for net, own in bouts.items():
            settings = replace(settings_of(options, net), objective=options.objective)
            fill(settings, own, workers, out / ANSWERS, partial(_tell, objective=options.objective))
    every = [bout for own in bouts.values() for bout in own]
    _write(every, out, options)
    return DONE


def _bouts(options: argparse.Namespace, net: str, out: Path) -> list[Bout]:
    """Returns the cells of a network, seed by seed, so that an interrupted arena is balanced."""
    titles = asked_for(options.contestants, net)
    place = out / "cells" / f"{short_name(net)}-{options.evaluations}"
    return [Bout(net, title, seed, place / title / str(seed)) for seed in range(options.seeds) for title in titles]


def _tell(number: int, count: int, bout: Bout, cell: Cell, *, objective: str) -> None:
    saved = "no plan" if cell.objective is None else f"{100 * (1 - cell.objective):.1f} % less {objective}"
    sys.stdout.write(f"[{number}/{count}] {bout}: {saved}, {cell.seconds:.0f} s\n")
    sys.stdout.flush()


def _write(bouts: Sequence[Bout], out: Path, options: argparse.Namespace) -> None:
    """Writes tables, plots and the page from the cells that are there, and names those that are not."""
    cells = [read_cell(bout.folder / RESULT) for bout in bouts if bout.done]
    missing = [bout for bout in bouts if not bout.done]
    for bout in missing:
        sys.stdout.write(f"missing: {bout}\n")
    if not cells:
        return
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.net, cell.contestant, cell.mode), []).append(cell)
    unions = union_hypervolumes(cells)
    standings = [standing(own, DROPS, unions[own[0].net]) for own in groups.values()]
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(out / "evaluations.csv", ("net", "contestant", "mode", "seed", *Point.__annotations__), _points(cells))
    _write_csv(out / "standings.csv", STANDING_COLUMNS, (_row(found) for found in standings))
    text = table_of(standings, [str(bout) for bout in missing], options.objective, options.evaluations)
    write_page(out, text, groups, options.max_drop, Path(options.docs) if options.docs else None)
    sys.stdout.write(text)


STANDING_COLUMNS = (
    "net",
    "contestant",
    "mode",
    "seeds",
    *(f"saved_at_{drop:g}{end}" for drop in DROPS for end in ("", "_half_width")),
    "final_saved",
    "final_saved_half_width",
    "test_drop_points",
    "hypervolume",
    "hypervolume_half_width",
    "share_of_union",
    "share_of_union_half_width",
    "evaluations",
    "processor_seconds",
)


def _row(found: Standing) -> list[object]:
    row: list[object] = [found.net, found.contestant, found.mode, found.seconds.seeds]
    for value in (*found.saved.values(), found.final_saved):
        row += ["", ""] if value is None else [value.mean, value.half_width]
    drop = "" if found.test_drop is None else found.test_drop.mean
    volume, share = found.hypervolume, found.union_share
    row += [drop, volume.mean, volume.half_width, share.mean, share.half_width]
    return [*row, found.evaluations, found.seconds.mean]


def _points(cells: Sequence[Cell]) -> Iterable[Sequence[object]]:
    for cell in cells:
        for point in cell.points:
            yield (cell.net, cell.contestant, cell.mode, cell.seed, *asdict(point).values())


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_atomically(path, text.getvalue().encode())


if __name__ == "__main__":
    sys.exit(main())
