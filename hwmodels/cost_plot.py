"""Energy by level and by operand and latency by what bounds it, as bars per layer, and the roofline of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwmodels.accelerator import LEVELS, OPERANDS
from hwmodels.layer_costs import LayerCost, Work
from plan.errors import UnwritableError

INCHES_PER_LAYER = 0.22
SMALLEST_WIDTH_INCHES = 8.0
LARGEST_WIDTH_INCHES = 40.0
HEIGHT_INCHES = 10.0
ROOFLINE_INCHES = 4.5
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")
OFF = "offset points"


def write_plot(path: Path, title: str, rows: Sequence[LayerCost], dram_bytes_per_cycle: float | None = None) -> None:
    """Writes three panels of stacked bars, one bar a layer, and the roofline; the format follows the file's ending.

    Args:
        path: where to.
        title: of the figure.
        rows: layers without their total.
        dram_bytes_per_cycle: slope of the roofline, which is left out where it is None.

    Raises:
        UnwritableError: the file cannot be written, or its ending names no format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: pricing needs no plots
    from matplotlib.figure import Figure

    width = min(LARGEST_WIDTH_INCHES, max(SMALLEST_WIDTH_INCHES, INCHES_PER_LAYER * len(rows)))
    known = dram_bytes_per_cycle is not None
    figure = Figure(figsize=(width, HEIGHT_INCHES + ROOFLINE_INCHES * known), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    ratios = [HEIGHT_INCHES, ROOFLINE_INCHES][: 1 + known]
    parts: Any = figure.subfigures(1 + known, 1, squeeze=False, height_ratios=ratios)
    _bars(parts[0, 0], rows)
    if dram_bytes_per_cycle is not None:
        _roofline(parts[1, 0].subplots(), rows, dram_bytes_per_cycle)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UnwritableError(f"cannot write {path}: {error}; choose another --plot, for example cost.png") from error


def _bars(figure: Any, rows: Sequence[LayerCost]) -> None:
    levels, operands, latency = figure.subplots(3, 1, sharex=True)
    _stack(levels, "energy by level, uJ", {name: [row.level_uj[name] for row in rows] for name in LEVELS})
    _stack(operands, "energy by operand, uJ", {name: [row.operand_uj[name] for row in rows] for name in OPERANDS})
    limits = {words(limit): [row.limit_ms[limit] for row in rows] for limit in rows[0].limit_ms}
    _stack(latency, "latency by what bounds it, ms", limits)
    labels = [f"{at} {row.name} ({words(row.bound_by)})" for at, row in enumerate(rows, start=1)]
    latency.set_xticks(range(len(rows)), labels, rotation=90, fontsize=6)


def _roofline(axes: Any, rows: Sequence[LayerCost], dram_bytes_per_cycle: float) -> None:
    """Draws MACs per cycle against MACs per DRAM byte, coloured by what bounds the layer, below both ceilings."""
    points = [(row, row.work) for row in rows if row.work is not None]
    peak = max(work.peak_macs_per_cycle for _, work in points)
    for limit, colour in zip(rows[0].limit_ms, COLOURS, strict=False):
        at = [work for row, work in points if row.bound_by == limit]
        if at:
            places = [work.macs_per_byte for work in at], [work.macs_per_cycle for work in at]
            axes.scatter(*places, s=14, color=colour, label=f"bound by {words(limit)}", zorder=2)
    for place, numbers in _numbered([work for _, work in points]).items():
        axes.annotate(numbers, place, fontsize=6, xytext=(2, 2), textcoords=OFF)
    knee = peak / dram_bytes_per_cycle
    left = min(knee, *(work.macs_per_byte for _, work in points)) / 2.0
    right = max(knee, *(work.macs_per_byte for _, work in points)) * 2.0
    axes.loglog([left, knee, right], [left * dram_bytes_per_cycle, peak, peak], color="black", linewidth=1, zorder=1)
    axes.set_xlabel("MAC per byte of DRAM")
    axes.set_ylabel("MAC per cycle")
    axes.set_title(f"roofline: {peak:g} MAC and {dram_bytes_per_cycle:.3g} bytes of DRAM a cycle", fontsize=8)
    axes.legend(loc="lower right", fontsize=7)


def _numbered(works: Sequence[Work]) -> dict[tuple[float, float], str]:
    """Returns the numbers of the layers, from 1, that stand at each place; equal layers share one."""
    found: dict[tuple[float, float], list[str]] = {}
    for number, work in enumerate(works, start=1):
        place = (float(f"{work.macs_per_byte:.2g}"), float(f"{work.macs_per_cycle:.2g}"))
        found.setdefault(place, []).append(str(number))
    return {place: ", ".join(numbers) for place, numbers in found.items()}


def words(limit: str) -> str:
    """Returns a limit as it is shown. Example: psum_bus -> "psum bus"."""
    return limit.replace("_", " ")


def _stack(axes: Any, label: str, parts: Mapping[str, Sequence[float]]) -> None:
    """Draws one stacked bar per position; parts that are zero everywhere are left out."""
    below = [0.0] * len(next(iter(parts.values())))
    for (name, values), colour in zip(parts.items(), COLOURS, strict=False):
        if any(values):
            axes.bar(range(len(values)), values, bottom=below, label=name, color=colour, width=0.8)
            below = [bottom + value for bottom, value in zip(below, values, strict=True)]
    axes.set_ylabel(label)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
