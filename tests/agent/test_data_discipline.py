"""What the search may see: nothing of the test images, and labels only where there are some."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from networks.data import open_data
from tests.agent.bench import Bench, write_inputs


def plan_of(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "plan.json").read_text())
    return document


@pytest.mark.slow
def test_poisoned_test_labels_change_nothing_but_the_test_figures(tmp_path: Path) -> None:
    plans = []
    for name in ("clean", "poisoned"):
        folder = tmp_path / name
        folder.mkdir()
        write_inputs(folder)
        if name == "poisoned":
            test = open_data(str(folder / "data.npz")).splits.test.indices
            with np.load(folder / "data.npz") as data:
                images, labels = data["x"], data["y"].copy()
            labels[test] = (labels[test] + 1) % 3
            np.savez(folder / "data.npz", x=images, y=labels)
        plans.append(plan_of(Bench(folder).train("run", "--seed", "3")))
    clean, poisoned = plans
    for same in ("layers", "totals", "savings", "repairs", "network", "limits"):
        assert clean[same] == poisoned[same]
    figures = [plan["accuracy"] for plan in plans]
    assert figures[0]["validation"] == figures[1]["validation"]
    assert figures[0]["predicted_drop_points"] == figures[1]["predicted_drop_points"]
    assert clean["made_by"]["fidelity"] == poisoned["made_by"]["fidelity"]
    assert clean["baseline"]["accuracy"]["test"] != poisoned["baseline"]["accuracy"]["test"]


@pytest.mark.slow
def test_without_labels_agreement_with_the_dense_network_stands_in(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    with np.load(tmp_path / "data.npz") as data:
        images = data["x"]
    np.savez(tmp_path / "data.npz", x=images)
    plan = plan_of(Bench(tmp_path).train("run"))
    assert plan["data"]["labels"] is False
    assert plan["accuracy"]["validation"]["drop_points"] <= 20
    assert plan["accuracy"]["validation"]["accuracy"] + plan["accuracy"]["validation"]["drop_points"] == pytest.approx(
        100.0
    )
