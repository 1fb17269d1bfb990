"""The code blocks of the documents, and small parameters in place of the ones that they name."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SEARCHING = ("agent.train", "agent.search")
OF_A_PLAN = ("agent.report", "agent.evaluate", "agent.apply", "agent.recost", "agent.diff")
TINY = {"--net": "net.py:build", "--weights": "none", "--data": "data.npz", "--max-drop": "20"}
EFFORT = {"--steps": "300", "--evaluations": "4"}
REPLACED = {
    '"resnet20", "eyeriss", max_drop=1.0': '"net.py:build", "eyeriss", weights="none", data="data.npz", max_drop=20.0',
    '["resnet20", "resnet32"]': '["net.py:build"]',
    '["eyeriss", "systolic"]': '["eyeriss"]',
    "max_drop = [1.0]": "max_drop = [20.0]",
    "evaluations = 16": 'evaluations = 4\nweights = "none"\ndata = "data.npz"',
    "search(task, ": "search(task, steps=300, evaluations=4, ",
    "apply(run.plan)": 'apply(run.plan, net="net.py:build")',
}
"""What examples say, and what a test runs."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and text."""

    language: str
    text: str

    def commands(self) -> list[list[str]]:
        """Returns the words behind `python -m` of every command in the block."""
        lines = [line for line in self.text.splitlines() if "python -m " in line]
        return [shlex.split(line, comments=True)[2:] for line in lines]

    def code(self) -> str:
        """Returns Python code with small parameters."""
        text = self.text
        for said, run in REPLACED.items():
            text = text.replace(said, run)
        return text


def blocks(document: Path) -> Iterator[Block]:
    """Yields the fenced blocks that name their language, in order."""
    for match in FENCE.finditer(document.read_text(encoding="utf-8")):
        yield Block(match[1], match[2])


def with_small_parameters(words: list[str]) -> list[str]:
    """Returns the words of a command on the tiny network."""
    module = words[0]
    if module in SEARCHING:
        name = f"runs/{_value(words, '--net')}-{_value(words, '--hw')}-seed0"
        given = words if "--out" in words or "--dry-run" in words else [*words, "--out", name]
        return _replaced(given, TINY | EFFORT)
    return _replaced(words, {"--net": TINY["--net"]}) if module in OF_A_PLAN else words


def _value(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def _replaced(words: list[str], values: dict[str, str]) -> list[str]:
    kept = list(words)
    for flag, value in values.items():
        if flag in kept:
            kept[kept.index(flag) + 1] = value
        else:
            kept += [flag, value]
    return kept
