"""Imports go down the packages only; a short list of command files may look up."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
RANKS = {"plan": 0, "networks": 1, "hwmodels": 1, "compress": 2, "envs": 3, "agent": 4, "espalier": 5, "experiments": 6}
FORBIDDEN = {"envs": {"compress", "networks", "torch"}, "hwmodels": {"torch"}, "plan": {"torch"}}
COMMANDS = {
    "hwmodels/report.py",
    "hwmodels/validate.py",
    "hwmodels/calibrate.py",
    "compress/sensitivity.py",
}
"""Thin commands that may import upwards; no library code imports them."""


def sources() -> list[Path]:
    return [path for package in RANKS for path in sorted((REPOSITORY / package).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """Yields the dotted names that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def faults(name: str, imported: list[str]) -> list[str]:
    """Returns the imports that a file, named relative to the repository, may not have."""
    package = name.partition("/")[0]
    found = []
    for target in imported:
        top = target.partition(".")[0]
        same_rank = top != package and RANKS.get(top, -1) == RANKS[package]
        upward = RANKS.get(top, -1) > RANKS[package] or same_rank
        if (upward and name not in COMMANDS) or top in FORBIDDEN.get(package, set()):
            found.append(f"{name} imports {target}")
        if target.replace(".", "/") + ".py" in COMMANDS:
            found.append(f"{name} imports the command {target}")
    return found


def test_imports_go_down() -> None:
    found = [
        fault for path in sources() for fault in faults(path.relative_to(REPOSITORY).as_posix(), list(imports(path)))
    ]
    assert not found


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("plan/space.py", "networks.zoo"),
        ("networks/zoo.py", "hwmodels.accelerator"),
        ("envs/problem.py", "compress.profile"),
        ("envs/problem.py", "torch"),
        ("agent/train.py", "hwmodels.report"),
    ],
)
def test_a_wrong_import_is_found(name: str, imported: str) -> None:
    assert faults(name, [imported])


@pytest.mark.parametrize(
    ("name", "imported"),
    [("envs/problem.py", "plan.space"), ("agent/build.py", "compress.profile"), ("hwmodels/report.py", "agent.build")],
)
def test_a_right_import_passes(name: str, imported: str) -> None:
    assert not faults(name, [imported])


def test_every_source_is_in_a_listed_package() -> None:
    folders = {path.parent.relative_to(REPOSITORY).as_posix().replace("/", ".") for path in sources()}
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert not [folder for folder in folders if f'"{folder}"' not in text]


def test_files_stay_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert not {str(path): length for path, length in lengths.items() if length >= 400}
