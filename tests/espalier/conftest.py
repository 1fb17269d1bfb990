"""A folder with a tiny network and its data, and a cache of its own."""

from pathlib import Path

import pytest

from tests.agent.bench import Bench, write_inputs


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("facade")
    write_inputs(folder)
    return Bench(folder)


@pytest.fixture
def workplace(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder after going there."""
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("ESPALIER_CACHE", str(bench.folder / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return bench.folder
