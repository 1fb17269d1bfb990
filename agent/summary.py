"""What a finished run prints: dense against the plan, and what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from plan.document import Document

LOWEST_RANK = 0.6
COST_ROWS = (
    ("energy", "energy_uj", "uJ"),
    ("latency", "latency_ms", "ms"),
    ("size", "size_kb", "kB"),
)
OtherViews = Mapping[str, tuple[float, float]]
"""Energy view -> energy of the dense network and of the plan in uJ, for the views that the plan was not made in."""


def comparison(document: Document, views: OtherViews) -> Table:
    """Returns the table of dense at baseline bits against the plan, energy in every view."""
    baseline, hardware = document["baseline"], document["hardware"]
    dense = f"dense {baseline['weight_bits']} bits"
    labels = document["data"]["labels"]
    table = Table(
        title=f"{document['network']['name']} on {hardware['name']}, one image, {hardware['energy_view']} energy",
        caption=f"savings against {dense} on the same hardware; drops against the network as given (float), "
        "95 % interval" + ("" if labels else "; without labels, accuracy is agreement with it"),
        title_justify="left",
        caption_justify="left",
    )
    sides: tuple[Literal["left", "right"], ...] = ("left", "right", "right", "left")
    for name, side in zip(("", dense, "plan", "change"), sides, strict=True):
        table.add_column(name, justify=side, no_wrap=True)
    for name, column, unit in COST_ROWS:
        before, after = four_digits(baseline[column]), four_digits(document["totals"][column])
        table.add_row(f"{name} ({unit})", before, after, f"{-100 * document['savings'][name]:+.1f} %")
        for view, energies in views.items() if name == "energy" else ():
            table.add_row(f"  in {view} view", *map(four_digits, energies), f"{-100 * saving(*energies):+.1f} %")
    for split in ("validation", "test"):
        figures = document["accuracy"][split]
        if figures is not None:
            table.add_row(*_accuracy_row(document, split, figures))
    return table


def saving(before: float, after: float) -> float:
    """Returns the fraction saved, 0.53 for 53 % less; 0 where there was nothing to save."""
    return 1.0 - after / before if before > 0 else 0.0


def four_digits(value: float) -> str:
    """Returns a positive number with at least four significant digits, never in exponents: 23,480 or 17.55."""
    decimals = max(3 - math.floor(math.log10(value)), 0) if value > 0 else 0
    return f"{value:,.{decimals}f}"


def _accuracy_row(document: Document, split: str, figures: dict[str, Any]) -> tuple[str, str, str, str]:
    low, high = figures["interval"]
    before = document["baseline"]["accuracy"][split]
    change = f"drop {figures['drop_points']:.2f} [{low:.2f}, {high:.2f}], n = {figures['images']:,}"
    return f"{split} (%)", f"{before:.2f}", f"{figures['accuracy']:.2f}", change


def next_commands(document: Document, plan: Path) -> list[str]:
    """Returns the commands that show the run, check its plan and write the network."""
    show = next_command("agent.report", document, plan.parent)
    return [show, next_command("agent.evaluate", document, plan), apply_command(document, plan)]


def next_command(module: str, document: Document, target: Path) -> str:
    """Returns a command about a plan or its run; code in a file has to be given again."""
    source = document["network"]["source"]
    given = ["--net", source] if ".py:" in source else []
    return shlex.join(["python", "-m", module, str(target), *given])


def apply_command(document: Document, plan: Path) -> str:
    """Returns the command that writes a plan's network."""
    out = shlex.quote(str(plan.parent / "compressed.safetensors"))
    return f"{next_command('agent.apply', document, plan)} --out {out}"


def result_json(document: Document, views: OtherViews, plan: Path) -> dict[str, Any]:
    """Returns the result of a run as one object: figures with their units in their names, and where the files are."""
    others = {
        view: {"dense_energy_uj": before, "energy_uj": after, "saving": saving(before, after)}
        for view, (before, after) in views.items()
    }
    parts = ("network", "hardware", "data")
    return {
        **{part: document[part]["name"] for part in parts},
        "energy_view": document["hardware"]["energy_view"],
        "other_energy_views": others,
        **{name: document[name] for name in ("objective", "limits", "baseline", "totals", "savings", "accuracy")},
        "fidelity": document["made_by"]["fidelity"],
        "measured_evaluations": document["made_by"]["measured_evaluations"],
        "plan": str(plan),
        "report": str(plan.parent / "report.html"),
        "next": next_commands(document, plan),
    }


def print_summary(console: Console, document: Document, views: OtherViews, plan: Path) -> None:
    """Prints the table, how well the proxy ranked, and the next commands."""
    console.print(comparison(document, views))
    fidelity = document["made_by"]["fidelity"]
    if fidelity is not None:
        console.print(fidelity_line(fidelity), highlight=False)
    console.print(f"plan: {plan}", markup=False, highlight=False, soft_wrap=True)
    console.print("next:", highlight=False)
    for command in next_commands(document, plan):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def fidelity_line(fidelity: dict[str, Any]) -> str:
    """Returns how well predicted drops ranked measured ones on the plans that no fit saw."""
    low, high = fidelity["spearman_interval"]
    interval = f"{fidelity['spearman']:.2f}, 95 % interval [{low:.2f}, {high:.2f}]"
    line = f"proxy: rank correlation {interval}, on {fidelity['plans']} held-out plans"
    return line + (
        "; warning: its lower end is under 0.6, trust the measured figures only" if low < LOWEST_RANK else ""
    )
