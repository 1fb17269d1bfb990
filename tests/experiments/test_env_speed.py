"""The benchmark of the environments: what it measures, on a small network."""

import time

import pytest

from envs.toy import toy_problem
from experiments.bench.env_speed import main, prediction_work, rate


def test_rates_count_units_per_second() -> None:
    found = rate(lambda: time.sleep(0.002) or 4, 0.05)
    assert 0 < found.wall <= 4 / 0.002
    assert found.processor > found.wall


def test_a_unit_of_prediction_is_a_batch() -> None:
    assert prediction_work(toy_problem())() == 1


def test_the_command_says_whether_goals_are_reached(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--net", "resnet20", "--envs", "2", "--seconds", "0.01"])
    printed = capsys.readouterr().out
    assert status == 1, "two environments are too few for the goal of many"
    assert "2 envs, decisions/s" in printed
    assert "4,096 plans predicted, ms" in printed
