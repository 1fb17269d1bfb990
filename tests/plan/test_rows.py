"""CSV files of flat dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from plan.errors import FileFormatError
from plan.rows import read_rows, write_rows


@dataclass(frozen=True)
class Line:
    name: str
    count: int
    share: float


def test_rows_survive_the_round_trip(tmp_path: Path) -> None:
    rows = [Line('a "name", with a comma', 3, 1e-17), Line("b", -1, float("inf"))]
    write_rows(tmp_path / "rows.csv", Line, rows)
    assert read_rows(tmp_path / "rows.csv", Line, "a test") == rows


def test_no_file_is_an_empty_table(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.csv", Line, "a test") == []


@pytest.mark.parametrize("content", ["x\n1\n", "name,count,share\na,b,c\n", "name,count,share\na,1\n"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.csv").write_text(content)
    with pytest.raises(FileFormatError, match="is not a test"):
        read_rows(tmp_path / "other.csv", Line, "a test")
