"""Bars of what every layer costs: energy by level and by operand, and latency by what bounds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS
from hwmodels.layer_costs import LayerCost
from plan.errors import UnwritableError

INCHES_PER_LAYER = 0.22
SMALLEST_WIDTH_INCHES = 8.0
LARGEST_WIDTH_INCHES = 40.0
HEIGHT_INCHES = 10.0
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def write_plot(path: Path, title: str, rows: Sequence[LayerCost]) -> None:
    """Writes three panels of stacked bars, one bar a layer; the format follows the file's ending.

    Args:
        path: where to.
        title: of the figure.
        rows: layers without their total.

    Raises:
        UnwritableError: the file cannot be written, or its ending names no format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: pricing needs no plots
    from matplotlib.figure import Figure

    width = min(LARGEST_WIDTH_INCHES, max(SMALLEST_WIDTH_INCHES, INCHES_PER_LAYER * len(rows)))
    figure = Figure(figsize=(width, HEIGHT_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    levels, operands, latency = figure.subplots(3, 1, sharex=True)
    _stack(levels, "energy by level, uJ", {name: [row.level_uj[name] for row in rows] for name in LEVELS})
    _stack(operands, "energy by operand, uJ", {name: [row.operand_uj[name] for row in rows] for name in OPERANDS})
    _stack(latency, "latency, ms", {name: [row.part_ms[name] for row in rows] for name in LATENCY_PARTS})
    latency.set_xticks(range(len(rows)), [f"{row.name} ({row.bound_by})" for row in rows], rotation=90, fontsize=6)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UnwritableError(f"cannot write {path}: {error}; choose another --plot, for example cost.png") from error


def _stack(axes: Any, label: str, parts: Mapping[str, Sequence[float]]) -> None:
    """Draws one stacked bar per position; parts that are zero everywhere are left out."""
    below = [0.0] * len(next(iter(parts.values())))
    for (name, values), colour in zip(parts.items(), COLOURS, strict=False):
        if any(values):
            axes.bar(range(len(values)), values, bottom=below, label=name, color=colour, width=0.8)
            below = [bottom + value for bottom, value in zip(below, values, strict=True)]
    axes.set_ylabel(label)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
