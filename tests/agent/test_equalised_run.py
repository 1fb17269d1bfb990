"""A run whose network was equalised, from the flag to the plan and back."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.loading import load_compressed
from tests.agent.bench import Bench

NETWORK = """
from torch import nn


class Tiny(nn.Sequential):
    input_size = (3, 12, 12)


def build():
    wide = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()]
    return Tiny(*wide, nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def plain():
    return Tiny(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
"""
EFFORT = ("--hw", "eyeriss", "--max-drop", "20", "--evaluations", "4", "--method", "greedy", "--equalise", "--quiet")


@pytest.mark.slow
def test_the_plan_is_recomputed_and_applied_on_the_equalised_network(bench: Bench) -> None:
    (bench.folder / "folded.py").write_text(NETWORK)
    net = ("--net", "folded.py:build")
    sources = (*net, "--weights", "none", "--data", "data.npz")
    found = bench.run("agent.search", *sources, *EFFORT, "--out", "equalised")
    assert found.returncode == 0, found.stderr
    plan = bench.folder / "equalised" / "plan.json"
    document = json.loads(plan.read_text())
    assert document["repairs"][0]["name"] == "cross-layer equalisation"
    again = bench.run("agent.evaluate", str(plan), *net)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "all equal" in again.stdout
    file = bench.folder / "equalised.safetensors"
    written = bench.run("agent.apply", str(plan), *net, "--out", str(file))
    assert written.returncode == 0, written.stderr
    assert bench.run("agent.apply", str(plan), *net, "--verify", str(file)).returncode == 0
    assert_runs(file, bench.folder / "folded.py")


def assert_runs(file: Path, source: Path) -> None:
    """Checks that the written network has clips that were scaled and gives finite answers."""
    loaded = load_compressed(file, runpy.run_path(str(source))["build"]())
    tops = [buffer for name, buffer in loaded.named_buffers() if name.endswith("_top")]
    assert len(tops) == 2
    assert any((top != 6).any() for top in tops)
    answers = loaded(torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, 12, 12))).float())
    assert answers.shape == (8, 3)
    assert torch.isfinite(answers).all()


@pytest.mark.slow
def test_a_network_without_such_tensors_is_refused(bench: Bench) -> None:
    (bench.folder / "folded.py").write_text(NETWORK)
    sources = ("--net", "folded.py:plain", "--weights", "none", "--data", "data.npz")
    refused = bench.run("agent.search", *sources, *EFFORT, "--out", "refused")
    assert refused.returncode == 2
    assert "no tensor to equalise" in refused.stderr
    assert not (bench.folder / "refused").exists()
