"""The scatter of estimated against repaired errors of single layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plan.assignment import FloatArray

INCHES = (6.0, 5.0)
SMALLEST_ERROR = 1e-9
"""Nats; what is less stands there."""


def draw_cells(path: Path, title: str, repaired: FloatArray, estimated: FloatArray, methods: Sequence[str]) -> None:
    """Writes a PNG: estimated against repaired errors, both in nats on logarithmic axes, a colour per granularity.

    Args:
        path: of the file.
        title: the network.
        repaired: errors of repaired layers, (n,).
        estimated: those of the table, (n,).
        methods: of the cells, as their text, n.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: a study without plots needs none
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    repaired, estimated = repaired.clip(SMALLEST_ERROR), estimated.clip(SMALLEST_ERROR)
    kinds = np.array([method.split("/")[0] for method in methods])
    for kind in dict.fromkeys(kinds):
        axes.scatter(repaired[kinds == kind], estimated[kinds == kind], s=18, alpha=0.8, label=str(kind))
    both = np.concatenate((repaired, estimated))
    axes.plot([both.min(), both.max()], [both.min(), both.max()], color="0.7", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("error of the repaired layer (nats)")
    axes.set_ylabel("estimated error (nats)")
    axes.set_title(f"{title}: {len(methods)} cells")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
