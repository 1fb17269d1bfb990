"""Tables of flat dataclasses as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from plan.atomic import write_atomically
from plan.errors import FileFormatError

Row = TypeVar("Row")
KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}


def read_rows(path: Path, row: Callable[..., Row], what: str) -> list[Row]:
    """Returns the rows of a file that `write_rows` wrote, none when there is no file.

    Args:
        path: of the file.
        row: a dataclass whose fields are int, float or str, annotations kept as text.
        what: names the table in messages, "a study".

    Raises:
        FileFormatError: another file.
    """
    if not path.is_file():
        return []
    kinds = {item.name: KINDS[str(item.type)] for item in fields(row)}  # type: ignore[arg-type]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row(**{name: kind(line[name]) for name, kind in kinds.items()}) for line in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise FileFormatError(str(path), [f"is not {what} ({error}); choose another file"]) from error


def write_rows(path: Path, kind: type[Any], rows: Iterable[Any]) -> None:
    """Writes dataclasses of one kind as CSV: the old file or the whole new one.

    Raises:
        UnwritableError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=[item.name for item in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, text.getvalue().encode())
