"""Every notebook runs from top to bottom with small parameters, and its stored form holds outputs and no error."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.agent.bench import REPOSITORY, write_inputs

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra: notebooks)")
MOST_BYTES = 1_000_000
FOLDER = REPOSITORY / "experiments" / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SMALL = """from pathlib import Path

net, weights, data = "net.py:build", "none", "data.npz"
nets, hardware = ["net.py:build"], ["eyeriss", "systolic"]
max_drop, evaluations = 20.0, 4
effort = {"steps": 300, "evaluations": 4}
folder = Path("made")
"""
ON_ZOO = {"3_accelerator_by_hand.ipynb": 'net = "resnet20"\nhardware = ["eyeriss"]\n'}
"""Notebooks that compute figures of a named network by hand keep it."""


def opened(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)


def test_there_are_six() -> None:
    assert [name[0] for name in NAMES] == list("123456")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_come_first(name: str) -> None:
    cells = [cell for cell in opened(name).cells if cell.cell_type == "code"]
    assert cells[0].metadata.tags == ["parameters"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_is_small_and_of_no_machine(name: str) -> None:
    file = FOLDER / name
    assert file.stat().st_size < MOST_BYTES
    assert not re.search(r"/(?:root|home|tmp|Users|work)/", file.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient", reason="nbclient is not installed (extra: notebooks)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra: notebooks)")
    write_inputs(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = opened(name)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = ON_ZOO.get(name, SMALL)
    client.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("text/html" in output.get("data", {}) for output in outputs), "a table"
    if not name.startswith("6"):
        assert any("image/png" in output.get("data", {}) for output in outputs), "a figure"
