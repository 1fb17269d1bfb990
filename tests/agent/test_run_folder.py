"""The run folder: where a run goes, what a continuation may change, and metrics that are written once."""

from pathlib import Path

import pytest

from agent.config import Settings
from agent.run_folder import RunFolder, choose_folder
from plan.errors import InvalidValueError, MismatchError, MissingFileError, UnwritableError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_new_runs_are_numbered_and_the_newest_is_continued() -> None:
    settings = Settings("nets/my.py:build", "eyeriss")
    assert choose_folder(settings) == Path("runs/my-eyeriss-seed0")
    RunFolder(Path("runs/my-eyeriss-seed0")).create(settings, ["command"], "cpu")
    assert choose_folder(settings) == Path("runs/my-eyeriss-seed0-2")
    RunFolder(Path("runs/my-eyeriss-seed0-2")).create(settings, ["command"], "cpu")
    again = Settings("nets/my.py:build", "eyeriss", resume=True)
    assert choose_folder(again) == Path("runs/my-eyeriss-seed0-2")


def test_a_filled_folder_is_not_used() -> None:
    Path("mine").mkdir()
    Path("mine/file").touch()
    with pytest.raises(InvalidValueError, match="--out mine is not empty"):
        choose_folder(Settings("net", "hw", out="mine"))
    with pytest.raises(MissingFileError, match="--out mine holds no run"):
        choose_folder(Settings("net", "hw", out="mine", resume=True))
    with pytest.raises(InvalidValueError, match="is a file"):
        choose_folder(Settings("net", "hw", out="mine/file"))
    with pytest.raises(UnwritableError, match="cannot write in"):
        choose_folder(Settings("net", "hw", out="mine/file/below"))


def test_a_continuation_asks_for_the_same() -> None:
    folder = RunFolder(Path("run"))
    folder.create(Settings("net", "hw"), ["command"], "cpu")
    folder.create(Settings("net", "hw", resume=True, quiet=True), ["command"], "cpu")
    with pytest.raises(MismatchError, match=r"--max-drop 1\.0, now 2\.0"):
        folder.create(Settings("net", "hw", resume=True, max_drop=2.0), ["command"], "cpu")


def test_metrics_are_written_once() -> None:
    folder = RunFolder(Path("run"))
    folder.create(Settings("net", "hw"), ["command"], "cpu")
    folder.start_phase("measure")
    folder.metrics(1, {"drop_points": 0.5})
    with Path("run/metrics.csv").open("a") as file:
        file.write("measure,2,drop_po")
    again = RunFolder(Path("run"))
    again.create(Settings("net", "hw", resume=True), ["command"], "cpu")
    again.start_phase("measure")
    again.metrics(1, {"drop_points": 0.5})
    again.metrics(2, {"drop_points": 0.25})
    rows = Path("run/metrics.csv").read_text().splitlines()
    assert rows == ["phase,step,metric,value", "measure,1,drop_points,0.5", "measure,2,drop_points,0.25"]
