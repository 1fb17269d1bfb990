"""A full disk: one line, status 2, nothing partial on disk, and a continuation that ends in the same plan."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.run_folder import RunFolder
from plan.atomic import write_atomically
from plan.command import REFUSED, run_command
from plan.errors import UnwritableError
from tests.agent.bench import Bench

SIZES_KB = (24, 160, 600)
"""Too small for a run of the tiny network: full in its first files, while it learns, and while its report is drawn."""
ENOUGH_KB = 65_536


class Disk:
    """A file system in memory of a size that can be changed."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def resize(self, size_kb: int) -> None:
        command = ["mount", "-o", f"remount,size={size_kb}k", str(self.place)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZES_KB[0]}k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_costs_nothing_but_time(bench: Bench, finished: Path, disk: Disk) -> None:
    out = disk.place / "run"
    sources = ("--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss")
    effort = ("--steps", "300", "--evaluations", "6", "--max-drop", "20", "--out", str(out), "--resume")
    for size in SIZES_KB:
        disk.resize(size)
        result = bench.run("agent.train", *sources, *effort, "--quiet")
        assert result.returncode == REFUSED, (size, result.stderr)
        assert "No space left on device" in result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert not list(out.rglob("*.partial"))
        for file in out.rglob("*.json"):
            assert isinstance(json.loads(file.read_text()), dict), file
    disk.resize(ENOUGH_KB)
    result = bench.run("agent.train", *sources, *effort, "--quiet")
    assert result.returncode == 0, result.stderr
    assert (out / "plan.json").read_bytes() == (finished / "plan.json").read_bytes()


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "plan.json"
    file.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableError, match="No space left on device"):
        write_atomically(file, b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert file.read_text() == "before"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_metrics_on_a_full_disk_are_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(UnwritableError, match="No space left on device; free space, then use --resume"):
        RunFolder(tmp_path).metrics(1, {"drop_points": 0.5})


def test_libraries_that_cannot_write_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "tb/events")

    assert run_command(work) == REFUSED
    told = capsys.readouterr().err
    assert told == "error: cannot write tb/events: No space left on device; free space, then use --resume\n"


def test_other_faults_of_the_system_are_not_hidden() -> None:
    def work() -> int:
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        run_command(work)
