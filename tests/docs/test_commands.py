"""Every command and example of the documents runs, with small parameters, in the order in which it is read."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agent.bench import write_inputs
from tests.docs.documents import REPOSITORY, Block, blocks, with_small_parameters

OF_A_PLAN = "docs/artefacts.md"
"""A document whose examples start from a plan, its network and some images."""
FIRST_READ = "README.md"
"""Its commands follow one another: each is printed by the one before."""
PLANNED = ("agent.search", "--net", "resnet20", "--hw", "eyeriss", "--method", "greedy", "--out", "planned")
NEEDED = {"docs/artefacts.md": ("onnx", "onnxruntime", "onnxscript")}
OTHERS = ("tensorboard.main",)
"""Documented modules that are not ours."""
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md"))
    if any(block.language in ("bash", "python") for block in blocks(path))
)


def run(words: list[str]) -> int:
    """Returns the exit status of a command that runs in this process."""
    status: int = importlib.import_module(words[0]).main(words[1:])
    return status


def prepared(folder: Path) -> dict[str, Any]:
    """Returns what the examples about a plan start from, after writing the plan."""
    assert run(with_small_parameters(list(PLANNED))) == 0
    (folder / "plan.json").write_bytes((folder / "planned" / "plan.json").read_bytes())
    namespace: dict[str, Any] = {}
    exec((folder / "net.py").read_text(), namespace)
    return {"network": namespace["build"](), "images": np.zeros((2, *namespace["Tiny"].input_size), dtype=np.float32)}


def test_every_documented_command_is_run_by_a_test() -> None:
    texts = {path: path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py")}
    run_here = {
        words[0] for document in DOCUMENTS for block in blocks(REPOSITORY / document) for words in block.commands()
    }
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    named = {module for page in pages for module in re.findall(r"python -m\s+([\w.]+[\w])", page.read_text())}
    assert len(named) > 15
    for module in named - run_here - set(OTHERS):
        package, _, name = module.rpartition(".")
        whole = re.escape(module)
        started = re.compile(rf'"{whole}"|from {whole} import .*\bmain\b|from {package} import .*\b{name}\b')
        assert any(started.search(text) for text in texts.values()), module


def test_there_is_something_to_run() -> None:
    assert {"README.md", "docs/quick_start.md", "docs/extending.md", "docs/python.md"} <= set(DOCUMENTS)


def test_parameters_become_small() -> None:
    words = Block("bash", "python -m agent.train --net resnet20 --hw eyeriss  # a comment\n").commands()[0]
    assert words == ["agent.train", "--net", "resnet20", "--hw", "eyeriss"]
    small = with_small_parameters(words)
    assert small[:5] == ["agent.train", "--net", "net.py:build", "--hw", "eyeriss"]
    assert small[small.index("--out") + 1] == "runs/resnet20-eyeriss-seed0"


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_run(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in NEEDED.get(document, ()):
        pytest.importorskip(extra, reason=f"{extra} is not installed")
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["documented"])
    names: dict[str, Any] = {"__name__": "documented", **(prepared(tmp_path) if document == OF_A_PLAN else {})}
    examples, printed = 0, ""
    for block in blocks(REPOSITORY / document):
        if block.language == "bash":
            for words in block.commands():
                status = run(with_small_parameters(words))
                told = capsys.readouterr()
                assert status == 0, f"{' '.join(words)}\n{told.out}\n{told.err}"
                assert document != FIRST_READ or not printed or " ".join(words[:2]) in printed, printed
                printed = told.out
                examples += 1
        elif block.language == "python":
            exec(compile(block.code(), document, "exec"), names)
            examples += 1
        elif block.language == "toml" and block.text.startswith("# "):
            (tmp_path / block.text.splitlines()[0][2:].strip()).write_text(block.code(), encoding="utf-8")
    assert document != OF_A_PLAN or names["scores"].shape == (2, 3)
    assert examples, f"{document} is listed for its examples and has none"
