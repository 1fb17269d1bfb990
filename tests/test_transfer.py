"""One agent on several networks: it carries over to another, and the command compares."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.actor import load_actor
from agent.composite import CompositeAgent
from agent.hyperparameters import Hyperparameters
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.protocol import Silent, Stop
from agent.searchers.transferred import TransferredSearcher, decided
from envs.observation import build_observer
from envs.problem import Problem
from envs.toy import toy_problem
from experiments.transfer import main, predicted_saving, train_in_turns
from plan.budget import Budget
from tests.agent.bench import Bench, write_inputs

SMALL = Hyperparameters(hidden=8, rollout_decisions=192, replay_decisions=1024)


@pytest.fixture(scope="module")
def toy() -> Problem:
    return toy_problem()


def shorter(toy: Problem) -> Problem:
    """Returns the toy with errors three times as large: another problem of the same methods."""
    errors = replace(toy.errors, weight=3.0 * toy.errors.weight)
    return replace(toy, errors=errors)


def test_an_agent_goes_on_learning_on_another_problem(toy: Problem, tmp_path: Path) -> None:
    first = CompositeAgent(CompressionVecEnv(toy, 16, 0), seed=0, hyper=SMALL)
    first.learn(192)
    first.save(tmp_path / "agent.zip")
    second = CompositeAgent.load(tmp_path / "agent.zip", CompressionVecEnv(shorter(toy), 16, 1))
    second.learn(192, reset_num_timesteps=False)
    assert second.num_timesteps == 384


def test_training_in_turns_leaves_one_agent_that_plans_another_network(toy: Problem, tmp_path: Path) -> None:
    file = tmp_path / "agent.zip"
    train_in_turns([toy, shorter(toy)], 8 * 192, 0, file, hyper=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.zip"]
    unseen = replace(toy, errors=replace(toy.errors, weight=2.0 * toy.errors.weight))
    plans = TransferredSearcher(file).search(
        unseen, Budget(drop_points=2.0), stop=Stop(1, 1), seed=0, observer=Silent()
    )
    for plan in plans:
        unseen.space.check(plan)
    assert predicted_saving(load_actor(file), unseen, 3.0) > 0.3
    assert decided(load_actor(file), build_observer(unseen)).shape == (96, 3, 4)


def test_nothing_saved_where_no_plan_keeps_the_drop(toy: Problem, tmp_path: Path) -> None:
    agent = CompositeAgent(CompressionVecEnv(toy, 4, 0), seed=0, hyper=SMALL)
    agent.save(tmp_path / "agent.zip")
    actor = load_actor(tmp_path / "agent.zip")
    assert predicted_saving(actor, toy, -1.0) == 0.0
    assert np.isfinite(predicted_saving(actor, toy, 100.0))


def test_the_unseen_network_must_be_unseen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--train", "resnet20,resnet32", "--test", "resnet20"]) == 2
    assert "never sees" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--seeds", "0"), ("--evaluations", "3")])
def test_counts_are_checked_first(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--train", "resnet20", "--test", "resnet32", *words]) == 2
    assert f"{words[0]} {words[1]}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_compares(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    bench = Bench(tmp_path)
    text = (tmp_path / "net.py").read_text()
    (tmp_path / "wide.py").write_text(text.replace("8,", "16,").replace("(8)", "(16)").replace("d(8", "d(16"))
    words = ["--train", "net.py:build", "--test", "wide.py:build", "--weights", "none", "--data", "data.npz"]
    words += ["--steps", "6912", "--evaluations", "8", "--seeds", "1", "--max-drop", "20", "--out", "out"]
    result = bench.run("experiments.transfer", *words)
    assert result.returncode == 0, result.stderr
    assert "transferred / trained, predicted" in result.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "transfer.csv").read_text().splitlines()))
    assert float(rows[0]["predicted_transferred"]) > 0
