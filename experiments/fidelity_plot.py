"""The scatter of predicted against measured drops."""

from __future__ import annotations

from pathlib import Path

from envs.accuracy.calibration import Calibration
from envs.accuracy.fidelity import spearman
from plan.assignment import FloatArray

INCHES = (5.0, 5.0)


def draw_fidelity(path: Path, title: str, errors: FloatArray, drops: FloatArray) -> None:
    """Writes a PNG: predicted drops, calibrated on these very plans, against measured ones, both in points.

    Args:
        path: of the file.
        title: the network.
        errors: predicted, nats, (n,).
        drops: measured, points, (n,).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: a study without plots needs none
    from matplotlib.figure import Figure

    predicted = Calibration.fit(errors, drops).points(errors)
    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    top = 1.05 * max(float(predicted.max()), float(drops.max()), 1.0)
    axes.plot([0, top], [0, top], color="0.7", linewidth=1)
    axes.scatter(predicted, drops, s=18, color="#0072b2", alpha=0.8)
    axes.set_xlabel("predicted drop (points)")
    axes.set_ylabel("measured drop (points)")
    axes.set_title(f"{title}: Spearman {spearman(errors, drops):.3f}, {len(drops)} plans")
    figure.savefig(path, dpi=150)
