"""What a searcher keeps of a search on its way, as plain arrays, so that an interrupted one can go on."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plan.atomic import write_atomically
from plan.errors import FileFormatError
from plan.space import Choices

State = dict[str, NDArray[Any]]
STATE_FILE = "searcher.npz"
CANDIDATES = "candidates"
"""Name of the array that a finished search leaves."""


class Resumable:
    """Keeps arrays by name. A search takes what was restored, once, and notes how far it is."""

    def __init__(self) -> None:
        self._noted: State = {}
        self._restored: State = {}

    def state(self) -> State:
        """Returns what the search under way, or the last one, has noted; empty where it would begin anew."""
        return dict(self._noted)

    def restore(self, state: State) -> None:
        """Lets the next search, which must be asked the same, go on where another stood."""
        self._restored = dict(state)

    def begin(self) -> State:
        """Returns what was restored, empty for a search from the beginning."""
        begun, self._restored = self._restored, {}
        self._noted = begun
        return begun

    def note(self, **arrays: NDArray[Any]) -> None:
        """Keeps these arrays in place of those before."""
        self._noted = arrays

    def finished(self, candidates: Choices) -> Choices:
        """Notes the candidates of a whole search and returns them."""
        self.note(candidates=candidates)
        return candidates


def number(state: State, name: str) -> int:
    """Returns a number that was noted, 0 when there is none."""
    return int(state.get(name, np.zeros(())))


def write_state(folder: Path, state: State) -> None:
    """Writes a state into a folder, atomically; nothing in it is pickled."""
    if state:
        text = io.BytesIO()
        np.savez(text, **state)  # type: ignore[arg-type]
        write_atomically(folder / STATE_FILE, text.getvalue())


def read_state(folder: Path) -> State:
    """Returns the state that a folder holds, an empty one when there is none.

    Raises:
        FileFormatError: the file is none.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(str(file), [f"not a searcher's state ({error}); delete it to search again"]) from error
