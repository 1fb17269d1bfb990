"""What other limits would give: the undominated measured plans as a table, as plans and as a picture."""

from __future__ import annotations

from agent.campaign import Campaign
from agent.run_folder import RunFolder
from envs.accuracy.archive import Measurement

COLUMNS = (
    "plan",
    "drop_points",
    "predicted_drop_points",
    "objective",
    "energy_uj",
    "latency_ms",
    "size_kb",
    "images",
)
MOST_PLANS = 24


def write_frontier(campaign: Campaign, folder: RunFolder) -> None:
    """Writes frontier.csv, plans/ and frontier.png from the plans measured on the search images."""
    entries = campaign.archive.frontier(campaign.effort.search_images)[:MOST_PLANS]
    rows = []
    for number, entry in enumerate(entries):
        name = f"plans/{number:02d}.json"
        folder.save_plan(campaign.document(entry, None), name)
        predicted = float(campaign.problem.calibration.points(entry.error))
        costs = (entry.cost.energy_uj, entry.cost.latency_ms, entry.cost.size_kb)
        rows.append((name, entry.drop_points, predicted, entry.objective, *costs, entry.images))
    folder.write_table("frontier.csv", COLUMNS, rows)
    _draw(campaign, entries, folder)


def _draw(campaign: Campaign, entries: tuple[Measurement, ...], folder: RunFolder) -> None:
    from matplotlib.figure import Figure  # imported here: it takes a second, which a faulty request need not wait for

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    every = campaign.archive.on(campaign.effort.search_images)
    axes.scatter([e.drop_points for e in every], [e.objective for e in every], s=12, color="0.7", label="measured")
    axes.plot([e.drop_points for e in entries], [e.objective for e in entries], "o-", label="frontier")
    axes.axvline(campaign.settings.max_drop, color="tab:red", linestyle="--", label="limit")
    axes.set_xlabel("drop on validation images (points)")
    axes.set_ylabel(f"{campaign.settings.objective}, dense {campaign.settings.baseline_bits} bits = 1")
    axes.legend()
    figure.savefig(folder.path / "frontier.png", dpi=150, metadata={"Software": None})
