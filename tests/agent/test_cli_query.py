"""agent.query on the run folder of a tiny network."""

import json
from pathlib import Path

import pytest

from tests.agent.bench import Bench


@pytest.mark.slow
def test_a_run_answers_another_budget(bench: Bench, finished: Path) -> None:
    out = bench.folder / "query.json"
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    result = bench.run("agent.query", str(finished), "--max-drop", "50", "--max-size-kb", "5", "--out", str(out))
    assert result.returncode == 0, result.stdout + result.stderr
    document = json.loads(out.read_text())
    assert document["limits"] == {"max_drop_points": 50.0, "max_size_kb": 5.0}
    assert document["totals"]["size_kb"] <= 5.0
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    checked = bench.evaluate(out)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_a_budget_out_of_reach_is_told(bench: Bench, finished: Path) -> None:
    out = bench.folder / "none.json"
    result = bench.run("agent.query", str(finished), "--max-size-kb", "0.0001", "--out", str(out))
    assert result.returncode == 1
    assert "infeasible: --max-size-kb 0.0001 is out of reach whatever the accuracy" in result.stdout
    assert "nearest plan" in result.stdout
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere",), "holds no run"),
        (("run", "--max-drop", "much"), "--max-drop 'much' is not a number"),
        (("run", "--max-size-kb", "-1"), "--max-size-kb -1.0 is out of range"),
        (("run", "--confidence", "1"), "--confidence 1 is out of range"),
    ],
)
def test_faulty_questions_are_refused(bench: Bench, finished: Path, words: tuple[str, ...], told: str) -> None:
    result = bench.run("agent.query", *words)
    assert result.returncode == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
