"""The results of a sweep: one table as CSV (and Parquet), how long each cell took, and one plot."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.sweep_cell import DONE, FAILED, Outcome
from plan.atomic import write_atomically

__all__ = ["FAILED", "print_table", "write_results"]
SHOWN = (
    "net",
    "hw",
    "max_drop",
    "seed",
    "status",
    "energy_saving",
    "latency_saving",
    "size_saving",
    "test_drop_points",
)
TIMES = ("seconds", "processor_seconds")
MARKERS = "osD^vP*X"
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


def write_results(out: Path, outcomes: Sequence[Outcome], *, plot: bool = True) -> list[Path]:
    """Writes the table, the seconds per cell and the plot; returns their paths.

    Args:
        out: folder of the sweep.
        outcomes: in the order of the cells.
        plot: whether to draw, which is left for the end.

    Raises:
        UnwritableError: a file cannot be written.
    """
    table = pd.DataFrame([outcome.row for outcome in outcomes])
    made = {"table.csv": _csv(table), "timing.csv": _timing(out, outcomes)}
    if importlib.util.find_spec("pyarrow") is not None:
        target = io.BytesIO()
        table.to_parquet(target, index=False)
        made["table.parquet"] = target.getvalue()
    if plot and (table["status"] == DONE).any():
        made["table.png"] = _plot(table[table["status"] == DONE])
    for name, content in made.items():
        write_atomically(out / name, content)
    return [out / name for name in made]


def _timing(out: Path, outcomes: Sequence[Outcome]) -> bytes:
    """Returns seconds per cell, by the clock and of its processor; earlier ones are kept for cells that were there."""
    file = out / "timing.csv"
    earlier = pd.read_csv(file).to_dict("records") if file.is_file() else []
    known = {str(row["cell"]): [row["cell"], *(row[name] for name in TIMES)] for row in earlier}
    for outcome in outcomes:
        if outcome.seconds > 0:
            known[outcome.name] = [outcome.name, *(round(getattr(outcome, name), 2) for name in TIMES)]
    return _csv(pd.DataFrame(list(known.values()), columns=["cell", *TIMES]))


def _csv(table: pd.DataFrame) -> bytes:
    return str(table.to_csv(index=False, lineterminator="\n")).encode()


def _plot(table: pd.DataFrame) -> bytes:
    """Returns a PNG: energy saved against test drop with its interval, networks by marker, accelerators by colour."""
    from matplotlib.figure import Figure  # imported here: it takes a second

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    nets, hardware = list(dict.fromkeys(table["net"])), list(dict.fromkeys(table["hw"]))
    for (net, hw), group in table.groupby(["net", "hw"], sort=False):
        drop = group["test_drop_points"]
        errors = [(drop - group["test_drop_low"]).clip(lower=0), (group["test_drop_high"] - drop).clip(lower=0)]
        axes.errorbar(
            drop,
            100 * group["energy_saving"],
            xerr=errors,
            fmt=MARKERS[nets.index(net) % len(MARKERS)],
            color=COLOURS[hardware.index(hw) % len(COLOURS)],
            elinewidth=0.8,
            capsize=2,
            label=f"{Path(str(net)).name} on {Path(str(hw)).stem}",
        )
    axes.set_xlabel("drop on test images, 95 % interval (points)")
    axes.set_ylabel(f"energy saved against dense {table['baseline_bits'].iloc[0]} bits (%)")
    axes.legend(frameon=False, fontsize=8)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=150, metadata={"Software": None})
    return target.getvalue()


def print_table(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Prints what was asked, savings and test drop of every cell."""
    table = Table(caption="savings as fractions of dense at baseline bits", caption_justify="left")
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right" if name.endswith(("saving", "points")) else "left")
    for outcome in outcomes:
        table.add_row(*(_cell(outcome.row.get(name, "")) for name in SHOWN))
    console.print(table)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
