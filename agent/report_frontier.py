"""The frontier of a run as its figures take it: percent of dense, drops in points, and words for every mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent.report_content import Content, Row
from agent.summary import four_digits
from plan.document import Document

OBJECTIVE_NAMES = {"energy": "energy", "latency": "latency", "edp": "energy-delay product", "size": "size"}


def frontier_json(content: Content) -> dict[str, Any]:
    """Returns the frontier, every measured plan, and the plan chosen, objectives in percent of dense."""
    document = content.document
    limit = document["limits"].get("max_drop_points", 0.0)
    return {
        "name": OBJECTIVE_NAMES[document["objective"]],
        "unit": f"% of dense {document['baseline']['weight_bits']} bits",
        "limit": limit,
        "objective": 100 * objective_of(document),
        "plans": [_plan(row) for row in content.frontier],
        "measured": [_measured(number, row) for number, row in enumerate(content.measured, start=1)],
        "chosen": [_chosen(document, split) for split in ("validation", "test") if document["accuracy"][split]],
    }


def objective_of(document: Document) -> float:
    """Returns what a plan's objective is relative to dense, 1.0 for no better."""
    left = {name: 1.0 - saved for name, saved in document["savings"].items()}
    return float(left["energy"] * left["latency"] if document["objective"] == "edp" else left[document["objective"]])


def choices_in_words(layers: Sequence[Document]) -> list[str]:
    """Returns a plan's main choices: what is pruned where, and the bits, means weighted by weights."""
    kinds = Counter(entry["granularity"]["type"] for entry in layers)
    sizes = [_weights(entry["shape"]) for entry in layers]
    total = sum(sizes)
    density = sum(size * entry["achieved_density"] for size, entry in zip(sizes, layers, strict=True)) / total
    bits = {
        field: sum(size * entry[field] for size, entry in zip(sizes, layers, strict=True)) / total
        for field in ("weight_bits", "activation_bits")
    }
    told = ", ".join(f"{kind} x{count}" for kind, count in kinds.most_common(4))
    return [
        told,
        f"density {density:.2f}, weights {bits['weight_bits']:.1f} bits, "
        f"activations {bits['activation_bits']:.1f} bits",
    ]


def _weights(shape: Document) -> int:
    return int(shape["K"] * shape["C"] * shape["R"] * shape["S"] // shape["groups"])


def _plan(row: Row) -> dict[str, Any]:
    document = row["document"]
    figures = document["accuracy"]["validation"]
    low, high = figures["interval"]
    costs = document["totals"]
    text = [
        f"{row['plan']}: {100 * row['objective']:.1f} % of dense",
        f"validation drop {row['drop_points']:.2f} [{low:.2f}, {high:.2f}], n = {figures['images']:,}",
        f"predicted drop {row['predicted_drop_points']:.2f}",
        f"{four_digits(costs['energy_uj'])} uJ, {four_digits(costs['latency_ms'])} ms, "
        f"{four_digits(costs['size_kb'])} kB",
        *choices_in_words(document["layers"]),
    ]
    return {
        "drop": row["drop_points"],
        "low": low,
        "high": high,
        "predicted": row["predicted_drop_points"],
        "objective": 100 * row["objective"],
        "text": text,
    }


def _measured(number: int, row: Row) -> dict[str, Any]:
    best = row.get("best_objective")
    predicted = row.get("predicted_drop_points")
    text = [
        f"measured plan {number}, {row['phase']}",
        f"{100 * row['objective']:.1f} % of dense",
        f"validation drop {row['drop_points']:.2f} points",
        *([] if predicted is None else [f"predicted then {predicted:.2f}"]),
    ]
    return {
        "drop": row["drop_points"],
        "objective": 100 * row["objective"],
        "best": None if best is None else 100 * best,
        "finalist": row["phase"] == "finalists",
        "text": text,
    }


def _chosen(document: Document, split: str) -> dict[str, Any]:
    figures = document["accuracy"][split]
    low, high = figures["interval"]
    text = [
        f"the plan on {split} images: {100 * objective_of(document):.1f} % of dense",
        f"{split} drop {figures['drop_points']:.2f} [{low:.2f}, {high:.2f}], n = {figures['images']:,}",
        *choices_in_words(document["layers"]),
    ]
    return {"split": split, "drop": figures["drop_points"], "low": low, "high": high, "text": text}
