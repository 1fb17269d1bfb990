"""Runs that are killed, stopped and cut short, on a tiny network."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agent.config import Settings
from agent.run_folder import RunFolder, choose_folder
from tests.agent.bench import Bench

SAME = ("plan.json", "metrics.csv", "frontier.csv")
KILLS, KILLED_AT = 20, (0.3, 1.0)
"""So many kills, at a share of an undisturbed run's time drawn between these."""
REQUEST = ("--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss")
EFFORT = ("--steps", "34560", "--evaluations", "8", "--max-drop", "20", "--quiet")


def started(bench: Bench, out: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "agent.train", *REQUEST, *EFFORT, "--out", out, *words]
    return subprocess.Popen(
        command,
        cwd=bench.folder,
        env=bench.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(bench: Bench, out: str, seconds: float | None = None) -> bool:
    """Returns whether a run, begun or continued, ended by itself; after so many seconds it is killed."""
    with started(bench, out, "--resume") as run:
        try:
            _, errors = run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            run.kill()
            return False
    assert run.returncode == 0, errors
    return True


def check_same(bench: Bench, out: str) -> None:
    for name in SAME:
        assert (bench.folder / out / name).read_bytes() == (bench.folder / "whole" / name).read_bytes(), (out, name)


@pytest.mark.slow
def test_runs_killed_twenty_times_end_as_an_undisturbed_one(bench: Bench, finished: Path) -> None:
    """The caches are warm from `finished`, so kills fall on every phase; the seed of their times is fixed.

    A run that ended before the kills were spent gives way to another.
    """
    begun = time.monotonic()
    assert ended(bench, "whole")
    alone, rng, left, runs = time.monotonic() - begun, np.random.default_rng(0), KILLS, 1
    while left:
        if ended(bench, f"killed{runs}", float(rng.uniform(*KILLED_AT)) * alone):
            check_same(bench, f"killed{runs}")
            runs += 1
        else:
            left -= 1
    assert ended(bench, f"killed{runs}")
    check_same(bench, f"killed{runs}")


@pytest.mark.slow
def test_ctrl_c_leaves_the_best_plan_and_can_be_continued(bench: Bench, finished: Path) -> None:
    run = started(bench, "stopped", "--steps", "2000000")
    plan, begun = bench.folder / "stopped" / "plan.json", time.monotonic()
    while not plan.is_file() and run.poll() is None and time.monotonic() - begun < 120:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=60) == 0
    document = json.loads(plan.read_text())
    assert document["accuracy"]["test"] is None
    assert document["accuracy"]["validation"]["drop_points"] <= 20


@pytest.mark.slow
def test_a_time_limit_ends_with_a_whole_plan(bench: Bench, finished: Path) -> None:
    run = started(bench, "limited", "--steps", "2000000", "--time-limit", "8s")
    assert run.wait(timeout=300) == 0, run.stderr.read() if run.stderr else ""
    document = json.loads((bench.folder / "limited" / "plan.json").read_text())
    assert document["accuracy"]["test"] is not None
    assert document["made_by"]["config"]["time_limit"] == 8.0


def test_a_folder_that_a_kill_left_without_settings_is_begun_anew(tmp_path: Path) -> None:
    settings = Settings(net="resnet20", hw="eyeriss", out=str(tmp_path / "run"), resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.77.partial").write_text("{")
    folder = RunFolder(choose_folder(settings))
    folder.create(settings, ["command"], "cpu")
    assert json.loads((folder.path / "config.json").read_text())["net"] == "resnet20"
    assert folder.checkpoint.is_dir()
