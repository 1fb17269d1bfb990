"""The bench of measured evaluations: a line a network, clear errors."""

import pytest

from experiments.bench import measure_speed
from experiments.bench.measure_speed import Case, Speed, main


def test_the_ratio_is_that_of_the_times() -> None:
    assert Speed("net", 10, dense=2.0, evaluation=3.0, first=9.0).ratio == 1.5


@pytest.mark.slow
def test_a_network_is_measured_and_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure_speed, "CASES", {"resnet20": Case(8, 16)})
    assert main(["--images", "8", "--repeats", "2"]) == 0
    printed = capsys.readouterr().out
    assert "resnet20" in printed
    assert "kept" in printed
    found = measure_speed.measure("resnet20", 8, 1)
    assert found.dense > 0
    assert 0 < found.evaluation < found.first


@pytest.mark.parametrize("words", [["--nets", "resnet19"], ["--images", "0"], ["--repeats", "0"]])
def test_odd_requests_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert words[1] in capsys.readouterr().err
