"""A table from names to entries that refuses duplicates and suggests what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, TypeVar

from plan.errors import UnknownNameError

Entry = TypeVar("Entry")


def close_names(name: str, known: list[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest known name, or an empty text."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


class Registry(Generic[Entry]):
    """Named entries of one kind, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds an entry and returns it.

        Raises:
            ValueError: the name is taken (a programming error, not a user's).
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> Entry:
        """Returns the entry of that name.

        Raises:
            UnknownNameError: no such name; the text lists the known ones and the closest.
        """
        if name not in self._entries:
            known = self.names()
            raise UnknownNameError(f"no {self.kind} '{name}'{close_names(name, known)} (known: {', '.join(known)})")
        return self._entries[name]

    def names(self) -> list[str]:
        """Returns the registered names in order of registration."""
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
