"""The hash behind caches follows every file that it names, packages' and modules' alike."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.source_hash import BEHIND_TABLES, source_sha256


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "hashed_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "part.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    source_sha256.cache_clear()
    yield folder
    source_sha256.cache_clear()
    sys.modules.pop("hashed_package", None)


def test_by_hand(package: Path) -> None:
    whole = hashlib.sha256(b"hashed_package/__init__.py\n" + b"hashed_package/part.py\nA = 1\n")
    assert source_sha256(("hashed_package",)) == whole.hexdigest()
    part = hashlib.sha256(b"hashed_package.part\nA = 1\n")
    assert source_sha256(("hashed_package.part",)) == part.hexdigest()


@pytest.mark.parametrize("name", ["hashed_package", "hashed_package.part"])
def test_a_changed_file_changes_it(package: Path, name: str) -> None:
    before = source_sha256((name,))
    (package / "part.py").write_text("A = 2\n")
    source_sha256.cache_clear()
    assert source_sha256((name,)) != before


def test_everything_behind_tables_is_found() -> None:
    empty = hashlib.sha256().hexdigest()
    for name in BEHIND_TABLES:
        assert source_sha256((name,)) != empty, name
