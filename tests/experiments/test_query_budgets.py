"""The benchmark of random budgets: what it asks, and that its verdicts are measured."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.bench.query_budgets import GOAL_SECONDS, Question, Reply, drawn
from plan.budget import Budget
from tests.agent.bench import Bench, write_inputs

DENSE = {"energy_uj": 100.0, "latency_ms": 10.0, "size_kb": 1000.0}


def test_budgets_are_drawn_within_their_ranges() -> None:
    questions = [drawn(np.random.default_rng(seed), DENSE) for seed in range(200)]
    assert all(0.3 <= question.limits.drop_points <= 5.0 for question in questions)
    for name, dense in DENSE.items():
        values = np.array([getattr(question.limits, name) for question in questions])
        limited = values[np.isfinite(values)]
        assert 70 <= len(limited) <= 130
        assert ((limited >= 0.05 * dense) & (limited <= 0.8 * dense)).all()
    assert {question.objective for question in questions} == {"energy", "latency", "edp", "size"}
    assert drawn(np.random.default_rng(3), DENSE) == drawn(np.random.default_rng(3), DENSE)


def test_a_question_is_asked_in_flags() -> None:
    question = Question(Budget(drop_points=1.25, latency_ms=3.5), "size")
    assert question.words() == ["--max-drop", "1.25", "--max-latency-ms", "3.5", "--objective", "size"]


def test_which_replies_are_good() -> None:
    def reply(seconds: float, *, feasible: bool, holds: bool | None) -> Reply:
        return Reply("", seconds, feasible, None, None, holds, "")

    assert reply(1.0, feasible=True, holds=True).good
    assert reply(1.0, feasible=False, holds=None).good
    assert not reply(1.0, feasible=True, holds=False).good
    assert not reply(GOAL_SECONDS, feasible=True, holds=True).good


@pytest.mark.slow
def test_budgets_of_a_tiny_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("budgets")
    write_inputs(folder)
    bench = Bench(folder)
    run, moved = bench.train("run"), ("--net", "net.py:build")
    result = bench.run("experiments.bench.query_budgets", str(run), "--budgets", "4", "--csv", "budgets.csv", *moved)
    rows = pd.read_csv(folder / "budgets.csv")
    assert len(rows) == 4
    for row in rows.itertuples():
        limit = float(str(row.question).split()[1])
        assert math.isnan(row.drop_points) == (not row.feasible)
        assert row.feasible or row.reason
        assert not row.feasible or str(row.holds) == str(row.drop_points <= limit)
    late = (rows.seconds >= GOAL_SECONDS).any()
    assert result.returncode == int(late or (rows.holds.astype(str) == "False").any())
    assert f"{(~rows.feasible).sum()} declared infeasible" in result.stdout
    assert bench.run("experiments.bench.query_budgets", str(run), "--budgets", "0").returncode == 2
