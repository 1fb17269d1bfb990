"""Every command and example of the documents runs, with small parameters, in the order in which it is read."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.agent.bench import write_inputs
from tests.docs.documents import REPOSITORY, Block, blocks, with_small_parameters

FRAGMENTS = ("docs/artefacts.md",)
"""Documents whose examples are lines of a user's own program, with inputs that the text describes."""
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md"))
    if path.relative_to(REPOSITORY).as_posix() not in FRAGMENTS
    and any(block.language in ("bash", "python") for block in blocks(path))
)


def run(words: list[str]) -> int:
    """Returns the exit status of a command that runs in this process."""
    status: int = importlib.import_module(words[0]).main(words[1:])
    return status


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
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["documented"])
    names: dict[str, object] = {"__name__": "documented"}
    examples = 0
    for block in blocks(REPOSITORY / document):
        if block.language == "bash":
            for words in block.commands():
                status = run(with_small_parameters(words))
                told = capsys.readouterr()
                assert status == 0, f"{' '.join(words)}\n{told.out}\n{told.err}"
                examples += 1
        elif block.language == "python":
            exec(compile(block.code(), document, "exec"), names)
            examples += 1
        elif block.language == "toml" and block.text.startswith("# "):
            (tmp_path / block.text.splitlines()[0][2:].strip()).write_text(block.code(), encoding="utf-8")
    assert examples, f"{document} is listed for its examples and has none"
