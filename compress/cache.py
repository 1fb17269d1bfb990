"""A memory of computed things that forgets the least recently used beyond a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Anything that knows its memory."""

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""


Item = TypeVar("Item", bound=Sized)


class ByteCache(Generic[Item]):
    """Least-recently-used cache bounded by bytes; the newest entry always stays. Threads may share it."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[Hashable, Item] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """Returns the entry of that key, made and kept when it is not there."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        return self._keep(key, make())

    def _keep(self, key: Hashable, made: Item) -> Item:
        """Returns the entry of a key: what was made, or what another thread was faster to keep."""
        with self._lock:
            if key in self._entries:
                return self._entries[key]
            self._entries[key] = made
            self.used_bytes += made.nbytes
            while self.used_bytes > self.limit_bytes and len(self._entries) > 1:
                _, dropped = self._entries.popitem(last=False)
                self.used_bytes -= dropped.nbytes
        return made

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)
