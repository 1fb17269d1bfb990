"""What other limits would give: the undominated measured plans as a table and as plans."""

from __future__ import annotations

from agent.campaign import Campaign
from agent.run_folder import RunFolder

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
    """Writes frontier.csv and plans/ from the plans measured on the search images."""
    entries = campaign.archive.frontier(campaign.effort.search_images)[:MOST_PLANS]
    rows = []
    for number, entry in enumerate(entries):
        name = f"plans/{number:02d}.json"
        folder.save_plan(campaign.document(entry, None), name)
        predicted = campaign.problem.predicted_drop(entry.choice)
        costs = (entry.cost.energy_uj, entry.cost.latency_ms, entry.cost.size_kb)
        rows.append((name, entry.drop_points, predicted, entry.objective, *costs, entry.images))
    folder.write_table("frontier.csv", COLUMNS, rows)
