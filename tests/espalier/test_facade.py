"""The Python API: its examples run, it asks what the command line asks, and it gives the same answers."""

import doctest
import importlib
import shlex
from pathlib import Path

import pytest
import torch

import espalier
from agent.config import read_settings, settings_parser
from plan.errors import InvalidValueError, MissingFileError

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def examples(module: str) -> doctest.TestResults:
    return doctest.testmod(importlib.import_module(module), extraglobs={"torch": torch}, optionflags=FLAGS)


@pytest.mark.parametrize("module", ["espalier.problems", "espalier.plans", "espalier.costs"])
def test_examples_of_a_module(module: str) -> None:
    found = examples(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_a_problem_is_what_the_command_line_asks() -> None:
    task = espalier.problem("resnet20", "eyeriss", max_drop=0.5, max_latency_ms=4.0, pin=("conv1:w8a8,dense",))
    line = "--net resnet20 --hw eyeriss --max-drop 0.5 --max-latency-ms 4.0 --pin conv1:w8a8,dense"
    assert task.settings() == read_settings(settings_parser("test", ""), shlex.split(line))


def test_all_wrong_values_are_listed() -> None:
    with pytest.raises(InvalidValueError, match=r"--objective 'speed'.*--baseline-bits 0"):
        espalier.problem("resnet20", "eyeriss", objective="speed", baseline_bits=0)  # type: ignore[arg-type]


def test_a_plan_comes_and_goes_byte_for_byte(tmp_path: Path) -> None:
    stored = REPOSITORY / "tests" / "old_plans" / "v2.json"
    plan = espalier.Plan.load(stored)
    plan.save(tmp_path / "first.json")
    espalier.Plan.load(tmp_path / "first.json").save(tmp_path / "second.json")
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    assert plan.layers["energy_uj"].sum() == pytest.approx(plan.document["totals"]["energy_uj"])
    assert list(plan.summary["saved"]) == [plan.savings[name] for name in ("energy", "latency", "size")]


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    run = espalier.Run(tmp_path)
    with pytest.raises(MissingFileError, match="no run folder"):
        _ = run.plan
    with pytest.raises(MissingFileError, match=r"frontier\.csv does not exist"):
        _ = run.frontier


@pytest.mark.slow
def test_examples_of_the_package(workplace: Path) -> None:
    found = examples("espalier")
    assert found.attempted >= 5
    assert found.failed == 0
    run = espalier.Run(workplace / "first-run")
    assert run.frontier_plan(0).document["network"]["name"] == run.plan.document["network"]["name"]
    assert run.report.name == "report.html"
    assert {"phase", "step", "metric", "value"} == set(run.metrics.columns)
    assert len(run.fidelity["predicted"]) == len(run.fidelity["measured"])
