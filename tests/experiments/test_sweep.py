"""A sweep: its file, its cells, and the same table whoever runs it and whatever dies on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from agent.config import Settings
from experiments.sweep import main
from experiments.sweep_cell import FAILED, Cell, Ended, Outcome, run_cell, start_process
from experiments.sweep_file import read_sweep
from experiments.sweep_table import write_results
from plan.errors import FileFormatError, MissingFileError


def swept(folder: Path, text: str) -> Path:
    (folder / "sweep.toml").write_text(text)
    return folder / "sweep.toml"


def test_cells_are_the_product(tmp_path: Path, sweep_text: str) -> None:
    cells = read_sweep(swept(tmp_path, sweep_text))
    assert len(cells) == 8
    assert len({cell.name for cell in cells}) == 8
    assert [dict(cell.varied)["seed"] for cell in cells[:2]] == [0, 1]
    assert cells[0].words[:2] == ["--net=net.py:build", "--hw=eyeriss"]


def test_another_setting_is_another_folder(tmp_path: Path, sweep_text: str) -> None:
    before = read_sweep(swept(tmp_path, sweep_text))[0].name
    after = read_sweep(swept(tmp_path, sweep_text.replace("evaluations = 4", "evaluations = 5")))[0].name
    assert before.rpartition("-")[0] == after.rpartition("-")[0]
    assert before != after


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nets = ", "is not TOML"),
        ("nets = []\nhardware = ['eyeriss']", "'nets' must be a list with at least one value"),
        ("net = ['a']\nhardware = ['eyeriss']", "'net' is unknown; did you mean 'nets'"),
        ("nets = ['a', 'a']\nhardware = ['eyeriss']", "'nets' holds a value twice"),
        ("nets = ['a']\nhardware = ['eyeriss']\nseeds = [-1]", "--seed -1 is out of range"),
        ("nets = ['a']\nhardware = ['eyeriss']\n[settings]\nsteps = true", "settings.steps must be text, a number"),
        ("nets = ['a']\nhardware = ['eyeriss']\n[settings]\nout = 'x'", "settings.out is unknown"),
        ("nets = ['a']\nhardware = ['eyeriss']\nsettings = 1", "'settings' must be a table"),
    ],
)
def test_faults_of_the_file_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(FileFormatError, match=told.replace("[", r"\[")):
        read_sweep(swept(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot read"):
        read_sweep(tmp_path / "none.toml")


def test_a_failed_cell_has_a_row_and_a_reason(tmp_path: Path) -> None:
    cell = Cell((("net", "a"), ("hw", "b")), ())
    outcome = run_cell(cell, tmp_path / "cell", lambda words: Ended(2, "warning\nerror: no such thing\n"))
    assert outcome.row == {"cell": cell.name, "net": "a", "hw": "b", "status": FAILED, "error": "no such thing"}
    written = write_results(tmp_path, [outcome])
    assert pd.read_csv(written[0])["error"].tolist() == ["no such thing"]
    assert not (tmp_path / "table.png").exists()


def test_seconds_of_earlier_cells_are_kept(tmp_path: Path) -> None:
    rows = [Outcome(name, {"cell": name, "status": FAILED}, seconds) for name, seconds in (("a", 1.0), ("b", 2.0))]
    write_results(tmp_path, rows)
    write_results(tmp_path, [Outcome("a", rows[0].row), Outcome("b", rows[1].row, 3.0, 2.5)])
    found = pd.read_csv(tmp_path / "timing.csv")
    assert found["seconds"].tolist() == [1.0, 3.0]
    assert found["processor_seconds"].tolist() == [0.0, 2.5]


def test_a_process_tells_its_status_and_what_it_computed_for() -> None:
    ended = start_process(["--net", "resnet20"])
    assert ended.status == 2
    assert "--hw" in ended.told
    assert 0.0 < ended.processor_seconds < 60.0


def test_settings_and_axes_are_settings() -> None:
    assert {"net", "hw", "max_drop", "seed"} <= set(Settings.__dataclass_fields__)


@pytest.mark.slow
def test_a_sweep_gives_a_table_and_a_plot(workplace: Path, process_table: bytes) -> None:
    found = pd.read_csv(workplace / "process" / "table.csv")
    assert found["status"].tolist() == ["done"] * 8
    assert (found["energy_saving"] > 0).all()
    assert (workplace / "process" / "table.png").stat().st_size > 1000
    timing = pd.read_csv(workplace / "process" / "timing.csv")
    assert len(timing) == 8
    assert (timing["processor_seconds"] > 0).all()


@pytest.mark.slow
def test_a_repeated_sweep_reads_what_is_there(workplace: Path, process_table: bytes) -> None:
    began = time.monotonic()
    assert main(["sweep.toml", "--out", "process", "--quiet"]) == 0
    assert time.monotonic() - began < 10
    assert (workplace / "process" / "table.csv").read_bytes() == process_table


@pytest.mark.slow
def test_a_faulty_network_does_not_sink_the_rest(
    workplace: Path, sweep_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = sweep_text.replace("other.py:build", "missing.py:build").replace("[0, 1]", "[0]").replace(', "systolic"', "")
    (workplace / "partly.toml").write_text(text)
    assert main(["partly.toml", "--workers", "1", "--out", "partly", "--json"]) == 1
    found = pd.read_csv(workplace / "partly" / "table.csv")
    assert found["status"].tolist() == ["done", "failed"]
    assert "missing.py" in found["error"].iloc[1]
    assert '"failed": 1' in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_worker_is_started_again(workplace: Path, process_table: bytes) -> None:
    text = (workplace / "sweep.toml").read_text().replace(', "systolic"', "").replace("[0, 1]", "[1]")
    (workplace / "short.toml").write_text(text)
    command = [sys.executable, "-m", "experiments.sweep", "short.toml", "--workers", "1", "--out", "killed", "--quiet"]
    sweep = subprocess.Popen(command, cwd=workplace)
    killed = 0
    while sweep.poll() is None and not killed:
        running = list((workplace / "killed").glob("*/checkpoint/evaluations.jsonl"))
        pids = [pid for thread in Path(f"/proc/{sweep.pid}/task").iterdir() for pid in _children(thread)]
        if running and pids:
            killed = int(pids[0])
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.05)
    assert killed
    assert sweep.wait(300) == 0
    lines = set((workplace / "killed" / "table.csv").read_bytes().splitlines())
    assert len(lines) == 3
    assert lines <= set(process_table.splitlines())


def _children(thread: Path) -> list[str]:
    try:
        return (thread / "children").read_text().split()
    except OSError:
        return []
