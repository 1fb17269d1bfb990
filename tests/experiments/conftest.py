"""A folder with two tiny networks, their data and a sweep of eight cells, and the table of its cells."""

from pathlib import Path

import pytest

from experiments.sweep import main
from tests.agent.bench import NETWORK, REPOSITORY, write_inputs

SWEEP = """
nets = ["net.py:build", "other.py:build"]
hardware = ["eyeriss", "systolic"]
max_drop = [20.0]
seeds = [0, 1]

[settings]
weights = "none"
data = "data.npz"
method = "greedy"
evaluations = 4
"""


@pytest.fixture(scope="session")
def sweep_text() -> str:
    return SWEEP


@pytest.fixture(scope="session")
def sweep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder; paths in its sweep.toml are absolute, as workers of a cluster need them."""
    place = tmp_path_factory.mktemp("sweep")
    write_inputs(place)
    (place / "other.py").write_text(NETWORK.replace("(8, 16,", "(8, 12,").replace("(16, 3)", "(12, 3)"))
    text = SWEEP
    for name in ("net.py", "other.py", "data.npz"):
        text = text.replace(f'"{name}', f'"{place / name}')
    (place / "sweep.toml").write_text(text)
    return place


@pytest.fixture
def workplace(sweep_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder after going there."""
    _enter(sweep_folder, monkeypatch)
    return sweep_folder


@pytest.fixture(scope="session")
def process_table(sweep_folder: Path) -> bytes:
    """Returns the table of the process backend."""
    with pytest.MonkeyPatch.context() as patch:
        _enter(sweep_folder, patch)
        assert main(["sweep.toml", "--workers", "2", "--out", "process", "--quiet"]) == 0
    return (sweep_folder / "process" / "table.csv").read_bytes()


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.setenv("ESPALIER_CACHE", str(folder / "cache"))
    patch.setenv("PYTHONPATH", str(REPOSITORY))
