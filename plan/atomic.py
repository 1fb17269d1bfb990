"""Files that a reader sees old or whole, however a write ends and however many processes write at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plan.errors import UnwritableError

CACHE_ADVICE = "free space or set ESPALIER_CACHE"


@contextmanager
def replacing(
    path: Path, advice: str, *, parents: bool = False, failures: tuple[type[Exception], ...] = ()
) -> Iterator[Path]:
    """Gives a path beside the file to write to, of this process alone; what is there at the end becomes the file.

    When the writing ends in an error, the file stays as it was.

    Args:
        path: of the file.
        advice: what the user can do where it cannot be written, "free space or change --out".
        parents: whether folders that are missing are made.
        failures: errors of the writing that mean just that, besides what the system says.

    Raises:
        UnwritableError: the file cannot be written.
    """
    caught: tuple[type[Exception], ...] = (OSError, *failures)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except caught as error:
        told = (error.strerror if isinstance(error, OSError) else None) or error
        raise UnwritableError(f"cannot write {path}: {told}; {advice}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes bytes beside the path and moves them there.

    Raises:
        UnwritableError: the file cannot be written.
    """
    with replacing(path, "free space or choose another path") as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
