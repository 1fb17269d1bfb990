"""What a user can get wrong costs one line, status 2, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Returns a finished command, started in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ESPALIER_CACHE": str(tmp_path / "cache")}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def refused(tmp_path: Path, *words: str) -> str:
    """Returns the one line of a command that must refuse, after checking that it wrote nothing."""
    result = run(tmp_path, *words)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert list(tmp_path.iterdir()) == []
    return lines[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--hw", "eyeris"], "no hardware 'eyeris'; did you mean 'eyeriss'?"),
        (["--hw", "my.toml"], "cannot read hardware file my.toml"),
        (["--data", "digts"], "data 'digts' do not exist; did you mean 'digits'?"),
        (["--data", "images.zip"], "data 'images.zip' do not exist"),
        (["--weights", "w.safetensors"], "weights file 'w.safetensors' does not exist"),
        (["--weights", "w.bin"], "weights 'w.bin' are not auto, none"),
        (["--max-drop", "-1"], "--max-drop -1.0 is out of range (allowed: 0 to 100 points)"),
        (["--max-drop", "nan"], "--max-drop nan is out of range"),
        (["--max-drop", "much"], "--max-drop 'much' is not a number"),
        (["--max-energy-uj", "0"], "--max-energy-uj 0.0 is out of range (allowed: above 0)"),
        (["--baseline-bits", "11"], "--baseline-bits 11 is not supported by 'eyeriss' (supported: "),
        (["--baseline-bits", "0"], "--baseline-bits 0 is out of range"),
        (["--objective", "enrgy"], "--objective 'enrgy' is unknown; did you mean 'energy'?"),
        (["--time-limit", "soon"], "--time-limit 'soon' is not a time"),
        (["--evaluations", "1"], "--evaluations 1 is out of range"),
        (["--steps", "0"], "--steps 0 is out of range"),
        (["--init-from", "agent.zip"], "--init-from agent.zip does not exist"),
        (
            ["--init-from", "a.zip", "--algo", "sac"],
            "--init-from does not go with --algo sac (allowed: composite, ppo)",
        ),
        (["--seed", "-3"], "--seed -3 is out of range"),
        (["--device", "gpu"], "--device 'gpu' is unknown; did you mean 'cpu'? (allowed: auto, cpu, cuda)"),
        (["--device", "cuda"], "--device cuda: torch finds no CUDA device here"),
        (["--pin", "conv1:8"], "--pin 'conv1:8' is not LAYER:w<bits>a<bits>"),
        (["--max-dorp", "1"], "unrecognized arguments: --max-dorp 1; did you mean '--max-drop'?"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_named(tmp_path: Path, words: list[str], told: str) -> None:
    given = dict(zip(["--net", "--hw"], ["resnet20", "eyeriss"], strict=True))
    pairs = [word for flag, value in given.items() if flag not in words for word in (flag, value)]
    assert told in refused(tmp_path, "agent.train", *pairs, *words)


def test_a_wrong_network_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, "agent.train", "--net", "resnet5", "--hw", "eyeriss")
    assert "no network 'resnet5'; did you mean 'resnet56'?" in line


def test_all_wrong_flags_are_listed(tmp_path: Path) -> None:
    line = refused(tmp_path, "agent.train", "--net", "x", "--hw", "y", "--seed", "-1", "--steps", "none")
    assert "--seed" in line
    assert "--steps" in line


def test_a_missing_flag_is_named(tmp_path: Path) -> None:
    assert "--hw" in refused(tmp_path, "agent.train", "--net", "resnet20")


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, "agent.search", "--net", "resnet20", "--hw", "eyeriss", "--method", "ilpp")
    assert "did you mean 'ilp'?" in line


def test_a_filled_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    result = run(tmp_path, "agent.train", "--net", "resnet20", "--hw", "eyeriss", "--out", "mine")
    assert result.returncode == 2
    assert "--out mine is not empty; give --resume to continue it, or another folder" in result.stderr
    again = run(tmp_path, "agent.train", "--net", "resnet20", "--hw", "eyeriss", "--out", "mine", "--resume")
    assert again.returncode == 2
    assert "--out mine holds no run to resume" in again.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("command", ["agent.evaluate", "agent.apply"])
def test_a_plan_that_is_not_there(tmp_path: Path, command: str) -> None:
    words = ["nowhere.json"] + (["--out", "m.safetensors"] if command == "agent.apply" else [])
    assert "cannot read nowhere.json" in refused(tmp_path, command, *words)
