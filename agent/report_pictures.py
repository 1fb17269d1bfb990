"""The figures of a report as PNG files, for papers and slides."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from agent.report_content import Content
from agent.report_frontier import frontier_json
from agent.report_page import KIND_COLOURS
from hwmodels.accelerator import LEVELS

PLAN, TEST, DENSE, LIMIT = "#1f6f8b", "#b3541e", "#98a2ae", "#8a2432"
LEVEL_COLOURS = dict(zip(LEVELS, ("#332288", "#44aa99", "#ddcc77", "#cc6677", "#882255", DENSE), strict=True))
LOGARITHMIC = 4.0
"""Objectives that differ by more than this factor get a logarithmic axis, as on the page."""
MOST_DROP = 4.0
"""Drops beyond so many times the limit (at least 3 points) are left out of the frontier's picture."""


def pictures(content: Content) -> dict[str, bytes]:
    """Returns file name -> PNG of every figure that the run has data for."""
    drawn: dict[str, Callable[[Any, Content], None]] = {
        "frontier.png": _frontier,
        "layers.png": _layers,
        "energy.png": _energy,
    }
    if content.fidelity is not None:
        drawn["fidelity.png"] = _fidelity
    if content.curves:
        drawn["curves.png"] = _curves
    return {name: _png(draw, content) for name, draw in drawn.items()}


def _png(draw: Callable[[Any, Content], None], content: Content) -> bytes:
    from matplotlib.figure import Figure  # imported here: it takes a second, which a faulty request need not wait for

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    draw(figure, content)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=150, metadata={"Software": None})
    return target.getvalue()


def _frontier(figure: Any, content: Content) -> None:
    data, axes = frontier_json(content), figure.subplots()
    reach = max(MOST_DROP * data["limit"], 3.0)
    plans = [plan for plan in data["plans"] if plan["drop"] <= reach]
    others = [plan for plan in data["measured"] if plan["drop"] <= reach]
    axes.scatter([p["drop"] for p in others], [p["objective"] for p in others], s=10, color="0.75", label="measured")
    _intervals(axes, plans, PLAN, "o", "validation")
    close = [plan for plan in plans if plan["predicted"] <= reach]
    axes.plot(
        [p["predicted"] for p in close], [p["objective"] for p in close], "D", color=PLAN, mfc="w", label="predicted"
    )
    for chosen in data["chosen"]:
        if chosen["split"] == "test":
            _intervals(axes, [{**chosen, "objective": data["objective"]}], TEST, "s", "test")
    axes.axvline(data["limit"], color=LIMIT, linestyle="--", label="limit")
    axes.set_xlabel("accuracy drop against the network as given (points)")
    axes.set_ylabel(f"{data['name']} ({data['unit']})")
    heights = [entry["objective"] for entry in (*plans, *others)]
    if heights and min(heights) > 0 and max(heights) > LOGARITHMIC * min(heights):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _intervals(axes: Any, plans: list[dict[str, Any]], colour: str, shape: str, label: str) -> None:
    drops = [plan["drop"] for plan in plans]
    sides = [[max(p["drop"] - p["low"], 0.0) for p in plans], [max(p["high"] - p["drop"], 0.0) for p in plans]]
    heights = [plan["objective"] for plan in plans]
    axes.errorbar(drops, heights, xerr=sides, fmt=shape, color=colour, capsize=3, label=label, elinewidth=1)


def _layers(figure: Any, content: Content) -> None:
    layers = content.document["layers"]
    figure.set_size_inches(max(7.0, 0.2 * len(layers) + 1.5), 5.4)
    density, bits = figure.subplots(2, 1, sharex=True)
    places = range(len(layers))
    for kind, colour in KIND_COLOURS.items():
        chosen = [at for at in places if layers[at]["granularity"]["type"] == kind]
        if chosen:
            density.bar(chosen, [layers[at]["achieved_density"] for at in chosen], color=colour, label=kind)
    density.set_ylabel("density (kept / total)")
    density.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for name, field, colour in (("weights", "weight_bits", PLAN), ("activations", "activation_bits", TEST)):
        bits.step(places, [entry[field] for entry in layers], where="mid", color=colour, label=name)
    bits.set_ylabel("bits")
    bits.set_ylim(bottom=0)
    bits.set_xticks(list(places), [entry["name"] for entry in layers], rotation=90, fontsize=6)
    bits.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _energy(figure: Any, content: Content) -> None:
    views = content.energy.levels
    for axes, (view, sides) in zip(figure.subplots(1, len(views)), views.items(), strict=True):
        for place, levels in enumerate(sides.values()):
            below = 0.0
            for level, value in levels.items():
                label = level.upper() if place == 0 and value > 0 else None
                axes.bar(place, value, bottom=below, color=LEVEL_COLOURS[level], width=0.6, label=label)
                below += value
        axes.set_xticks(range(len(sides)), list(sides))
        axes.set_title(f"{view} view", fontsize=10)
        axes.set_ylabel("energy for one image (uJ)")
        axes.legend(frameon=False, fontsize=8)


def _fidelity(figure: Any, content: Content) -> None:
    figure.set_size_inches(5, 5)
    axes, fidelity = figure.subplots(), content.fidelity or {}
    axes.scatter(fidelity["predicted"], fidelity["measured"], color=PLAN, alpha=0.75)
    axes.axline((0, 0), slope=1, color=DENSE, linestyle="--")
    low, high = fidelity["spearman_interval"]
    axes.set_title(
        f"Spearman {fidelity['spearman']:.2f} [{low:.2f}, {high:.2f}], {fidelity['plans']} plans", fontsize=10
    )
    axes.set_xlabel("predicted drop (points)")
    axes.set_ylabel("measured drop (points)")


def _curves(figure: Any, content: Content) -> None:
    columns = 3
    rows = -(-len(content.curves) // columns)
    figure.set_size_inches(9, 1.9 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (name, points) in zip(panels, content.curves.items(), strict=False):
        axes.plot([step for step, _ in points], [value for _, value in points], color=PLAN)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    for axes in list(figure.axes)[len(content.curves) :]:
        axes.set_visible(False)
