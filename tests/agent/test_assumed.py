"""Plans of a search that runs a part of the validation images: what they state, and that it is measured again alike."""

import csv
import json

import pytest

from tests.agent.bench import Bench

SEARCHED = 20


def test_a_plan_of_the_search_says_what_it_assumed_and_is_recomputed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.effort.SEARCH_IMAGES", SEARCHED)
    run = bench.train("assumed", "--seed", "3")
    document = json.loads((run / "plan.json").read_text())
    assert document["accuracy"]["validation"]["images"] == document["data"]["images"]["validation"] > 50
    assert "assumed" not in document["accuracy"]["validation"]
    with (run / "frontier.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["images"] for row in rows} == {str(SEARCHED)}
    plan = run / rows[-1]["plan"]
    stated = json.loads(plan.read_text())["accuracy"]["validation"]
    assert (stated["images"], stated["assumed"]) == (50, 30)
    again = bench.evaluate(plan)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "all equal" in again.stdout
