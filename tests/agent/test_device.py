"""Where networks run: as asked, as recorded, and with the same plan on any device that computes alike."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from agent import config
from agent.build import use_threads
from agent.config import Settings
from agent.rebuild import recorded_device
from agent.run_folder import RunFolder
from compress import device
from tests.agent.bench import Bench
from tests.compress.pretended import PRETENDED, PretendedDevice

SEARCH = ("agent.search", "--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss")
EFFORT = ("--method", "greedy", "--evaluations", "4", "--max-drop", "20")


def plan_of(bench: Bench, out: str, *words: str) -> tuple[dict[str, Any], str]:
    """Returns the plan of a finished search, and what the command printed."""
    result = bench.run(*SEARCH, *EFFORT, "--out", out, *words)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads((bench.folder / out / "plan.json").read_text())
    return document, result.stdout


@pytest.mark.slow
def test_a_run_elsewhere_ends_in_the_same_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.measure.integers_are_exact", lambda: False)  # elsewhere networks run in float
    here, told = plan_of(bench, "here", "--device", "cpu")
    assert here["made_by"]["versions"]["device"] == device.device_title(device.CPU)
    assert here["made_by"]["config"]["device"] == "cpu"
    assert "networks run on cpu" in told
    profiles = set((bench.folder / "cache" / "profiles").iterdir())  # other tests share the cache
    asked: list[str] = []
    for place in ("agent.pipeline", "agent.rebuild"):
        monkeypatch.setattr(f"{place}.chosen_device", lambda name: asked.append(name) or PRETENDED)
    with PretendedDevice():
        there, told = plan_of(bench, "there")
        again = bench.evaluate(bench.folder / "there" / "plan.json", "--device", "cuda")
    assert asked == ["auto", "cuda"]
    assert "networks run on meta" in told
    versions = json.loads((bench.folder / "there" / "versions.json").read_text())
    assert versions == there["made_by"]["versions"]
    assert versions["device"] == "meta"
    for document in (here, there):
        del document["made_by"]
    assert there == here
    assert again.returncode == 0, again.stdout + again.stderr
    assert "all equal" in again.stdout
    assert "accuracy exactly" in again.stdout
    made = set((bench.folder / "cache" / "profiles").iterdir()) - profiles
    assert len(made) == 1  # a profile is of one kind of device


def test_a_plan_made_elsewhere_need_not_be_exact(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan_of(bench, "made")
    plan = bench.folder / "made" / "plan.json"
    document = json.loads(plan.read_text())
    title = device.device_title(device.CPU)
    for recorded, exact in ((title, True), ("cpu", title == "cpu"), (None, title == "cpu"), ("cuda (A Card)", False)):
        document["made_by"]["versions"].pop("device", None)
        if recorded is not None:
            document["made_by"]["versions"]["device"] = recorded
        plan.write_text(json.dumps(document))
        result = bench.evaluate(plan)
        assert result.returncode == 0, result.stdout + result.stderr
        assert ("accuracy exactly" in result.stdout) == exact
        assert "networks run on cpu" in result.stdout
    assert bench.evaluate(plan, "--device", "cuda").returncode == 2


@pytest.mark.parametrize(
    ("versions", "choice"),
    [({}, "cpu"), ({"device": "cpu"}, "cpu"), ({"device": "cuda (NVIDIA A100)"}, "auto"), ({"device": "mps"}, "cpu")],
)
def test_the_device_of_a_plan(versions: dict[str, str], choice: str) -> None:
    assert recorded_device({"made_by": {"versions": versions}}) == choice


def test_cuda_that_is_not_there_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for extra in ((), ("--dry-run",)):
        result = bench.run(*SEARCH, "--device", "cuda", "--out", "nowhere", *extra)
        assert result.returncode == 2
        assert "--device cuda: torch finds no CUDA device here" in result.stderr
    assert not (bench.folder / "nowhere").exists()


def test_choices_are_those_of_compress() -> None:
    assert config.DEVICES == device.CHOICES


def test_a_run_may_go_on_elsewhere(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(Settings("net", "hw"), ["command"], "cuda (A Card)")
    assert json.loads((folder.path / "versions.json").read_text())["device"] == "cuda (A Card)"
    folder.create(Settings("net", "hw", resume=True, device="cpu"), ["command"], "cpu")
    assert json.loads((folder.path / "versions.json").read_text())["device"] == "cpu"


def test_cuda_computes_in_float32_and_alike_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.backends.cudnn.allow_tf32 = True
    use_threads(torch.get_num_threads())
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
