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
KILLS, SECONDS = 20, 100.0
"""At most so many kills, as many as fit into that time."""
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


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(bench: Bench, finished: Path) -> None:
    """The caches are warm from `finished`, so kills fall on every phase; the seed of their times is fixed."""
    begun = time.monotonic()
    whole = started(bench, "whole")
    assert whole.wait() == 0, whole.stderr.read() if whole.stderr else ""
    alone, rng, kills = time.monotonic() - begun, np.random.default_rng(0), 0
    while kills < KILLS and time.monotonic() - begun < SECONDS:
        run = started(bench, "killed", "--resume")
        try:
            status = run.wait(timeout=float(rng.uniform(0.3, 1.0)) * alone)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            kills += 1
        else:
            assert status == 0, run.stderr.read() if run.stderr else ""
            break
    last = started(bench, "killed", "--resume")
    assert last.wait() == 0, last.stderr.read() if last.stderr else ""
    assert kills >= 1
    for name in SAME:
        assert (bench.folder / "killed" / name).read_bytes() == (bench.folder / "whole" / name).read_bytes(), name


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
    folder.create(settings, ["command"])
    assert json.loads((folder.path / "config.json").read_text())["net"] == "resnet20"
    assert folder.checkpoint.is_dir()
