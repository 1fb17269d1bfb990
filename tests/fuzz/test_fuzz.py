"""5,000 broken inputs: each is read or refused with an `EspalierError`; no traceback, no partial file."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import apply, diff, evaluate, query, recost, report, train
from agent.agent_file import read_agent_file
from agent.config import read_settings, settings_parser
from agent.opened_run import read_settings_of
from agent.report_content import measured_plans, read_table
from agent.run_folder import METRIC_COLUMNS
from experiments import sweep
from experiments.sweep_file import read_sweep
from hwmodels.loader import parse, preset_names, preset_text
from networks.data import open_data
from networks.weights import read_state
from plan.document import load
from tests.fuzz.broken_files import (
    Edit,
    edited,
    edits,
    image_bytes,
    leaves,
    nothing_left,
    refused_or_read,
    values,
    with_value,
    zipped,
)

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PLAN = (REPOSITORY / "tests" / "old_plans" / "v2.json").read_bytes()
DOCUMENT = json.loads(PLAN)
PATHS = list(leaves(DOCUMENT))
SWEEP = b'nets = ["resnet20"]\nhardware = ["eyeriss"]\nmax_drop = [1.0]\nseeds = [0]\n[settings]\nsteps = 10\n'
CONFIG = json.dumps(
    settings_json := read_settings(settings_parser("", ""), ["--net=resnet20", "--hw=eyeriss"]).to_json()
)
METRICS = b"phase,step,metric,value\ncalibrate,1,drop_points,0.5\ncalibrate,1,objective,1.0\n"
FLAGS = [
    flag
    for action in settings_parser("", "")._actions
    for flag in action.option_strings
    if flag not in ("-h", "--help")
]
COUNTS = {
    "plan values": 1200,
    "plan bytes": 600,
    "presets": 900,
    "flags": 900,
    "archives": 700,
    "run files": 400,
    "sweeps": 300,
    "commands": 600,
}
"""Inputs per kind, all of them tried: `fuzz` counts."""
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "evaluate": evaluate.main,
    "apply": apply.main,
    "report": report.main,
    "query": query.main,
    "recost": recost.main,
    "diff": diff.main,
    "train": train.main,
    "sweep": sweep.main,
}


def fuzz(kind: str, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Runs the decorated check on `COUNTS[kind]` inputs and asserts that it really ran so often."""

    def run(check: Callable[..., None]) -> None:
        tried = 0

        @settings(max_examples=COUNTS[kind], suppress_health_check=list(HealthCheck), database=None)
        @given(st.tuples(*strategies))
        def counted(given_values: tuple[Any, ...]) -> None:
            nonlocal tried
            tried += 1
            check(*given_values)

        counted()
        assert tried >= COUNTS[kind], f"only {tried} inputs of {kind}"

    return run


def test_the_counts_add_up() -> None:
    assert sum(COUNTS.values()) >= 5000
    assert settings_json["net"] == "resnet20"


def test_the_originals_are_read(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(PLAN)
    (tmp_path / "sweep.toml").write_bytes(SWEEP)
    assert refused_or_read(lambda: load(tmp_path / "plan.json"))
    assert refused_or_read(lambda: read_sweep(tmp_path / "sweep.toml"))
    assert len(PATHS) > 100


@pytest.mark.slow
def test_plans_with_other_values(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"

    @fuzz("plan values", st.sampled_from(PATHS), values, st.booleans())
    def check(path: tuple[Any, ...], value: Any, remove: bool) -> None:
        file.write_text(json.dumps(with_value(DOCUMENT, path, value, remove=remove)))
        with nothing_left(tmp_path):
            refused_or_read(lambda: load(file))


@pytest.mark.slow
def test_plans_with_other_bytes(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"

    @fuzz("plan bytes", edits)
    def check(changes: list[Edit]) -> None:
        file.write_bytes(edited(PLAN, changes))
        with nothing_left(tmp_path):
            refused_or_read(lambda: load(file))


@pytest.mark.slow
def test_presets() -> None:
    texts = {name: preset_text(name).encode() for name in preset_names()}

    @fuzz("presets", st.sampled_from(sorted(texts)), edits)
    def check(name: str, changes: list[Edit]) -> None:
        text = edited(texts[name], changes).decode(errors="replace")
        refused_or_read(lambda: parse(text, "fuzzed.toml"))


@pytest.mark.slow
def test_flags() -> None:
    word = st.one_of(
        st.sampled_from(FLAGS), st.text(max_size=8), st.sampled_from(("0", "-1", "nan", "inf", "1e400", "5m", "w8a8"))
    )

    @fuzz("flags", st.lists(word, max_size=6))
    def check(words: list[str]) -> None:
        asked = ["--net=resnet20", "--hw=eyeriss", *(each for each in words if each not in ("-h", "--help"))]
        refused_or_read(lambda: read_settings(settings_parser("fuzz", ""), asked))


def npz_bytes() -> bytes:
    target = io.BytesIO()
    np.savez(target, x=np.zeros((40, 8, 8, 3), dtype=np.uint8), y=np.arange(40) % 4)
    return target.getvalue()


@pytest.mark.slow
def test_archives_of_data_weights_and_agents(tmp_path: Path) -> None:
    images = {f"val/c{number % 2}/{number}.png": image_bytes() for number in range(12)}
    originals = {
        "data.zip": zipped(images),
        "data.npz": npz_bytes(),
        "agent.zip": zipped({"agent.json": b"{}", "parameters.safetensors": b"", "state.npz": b""}),
        "net.safetensors": b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ",
        "net.pt": zipped({"archive/data.pkl": b"\x80\x02}q\x00.", "archive/version": b"3\n"}),
    }

    def read(file: Path) -> None:
        if file.name == "agent.zip":
            read_agent_file(file)
        elif file.name.startswith("net"):
            read_state(file)
        else:
            splits = open_data(str(file)).splits
            splits.calibration.tensor((3, 8, 8), (0.5,) * 3, (0.5,) * 3)

    names = st.sampled_from(
        ("../climb.png", "/abs.png", "val/c0/x.png", "val/../../x.png", "classes.txt", "val/c0/\x01.png")
    )

    @fuzz("archives", st.sampled_from(sorted(originals)), edits, st.none() | names, st.binary(max_size=40))
    def check(name: str, changes: list[Edit], member: str | None, content: bytes) -> None:
        file = tmp_path / name
        if member is None or name != "data.zip":
            file.write_bytes(edited(originals[name], changes))
        else:
            file.write_bytes(zipped({**images, member: content}))
        with nothing_left(tmp_path):
            refused_or_read(lambda: read(file))


@pytest.mark.slow
def test_files_of_a_run(tmp_path: Path) -> None:
    originals = {"config.json": CONFIG.encode(), "metrics.csv": METRICS}

    @fuzz("run files", st.sampled_from(sorted(originals)), edits)
    def check(name: str, changes: list[Edit]) -> None:
        (tmp_path / name).write_bytes(edited(originals[name], changes))
        with nothing_left(tmp_path):
            if name == "config.json":
                refused_or_read(lambda: read_settings_of(tmp_path))
            else:
                refused_or_read(lambda: measured_plans(read_table(tmp_path / name, METRIC_COLUMNS)))


@pytest.mark.slow
def test_sweeps(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"

    @fuzz("sweeps", edits)
    def check(changes: list[Edit]) -> None:
        file.write_bytes(edited(SWEEP, changes))
        with nothing_left(tmp_path):
            refused_or_read(lambda: read_sweep(file))


@pytest.mark.slow
def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No word is the name of a network that could be built, so that no command comes to its work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "plan.json").write_bytes(PLAN)
    (tmp_path / "half.json").write_bytes(PLAN[:900])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(CONFIG)
    words = st.sampled_from(
        ("plan.json", "half.json", "run", "none.json", ".", "--net", "--hw", "--out", "x.pt2", "x.safetensors")
        + ("--max-drop", "--max-size-kb", "--json", "--quiet", "--all", "--csv", "--view", "joules", "--data")
        + ("--verify", "--backend", "--workers", "--seed", "eyeriss", "eyeris", "0", "-1", "nan", "1e400", "", "\x00")
    )

    @fuzz("commands", st.sampled_from(sorted(COMMANDS)), st.lists(words | st.text(max_size=6), max_size=6))
    def check(name: str, given_words: list[str]) -> None:
        asked = [word for word in given_words if word not in ("-h", "--help")]
        with nothing_left(tmp_path):
            status = COMMANDS[name](asked)
        told = capsys.readouterr().err
        assert status in (0, 1, 2), (name, asked)
        assert (told.count("\n") == 1) == (status == 2), (name, asked, told)


def test_csv_is_what_the_fuzzer_starts_from() -> None:
    assert len(list(csv.reader(METRICS.decode().splitlines()))) == 3
