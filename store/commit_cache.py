"""What was read of commits, which never change, kept in memory while it fits."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_ENTRIES = 1000


class CommitCache:
    """The most recently used entries, up to a number and a size. Safe to use from several threads.

    Entries with `nbytes` (arrays, tables, vectors) are counted, others are taken to be small.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.RLock()  # what loads one entry may ask for another
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The entry of `key`, loaded if it is not here; what was used longest ago makes room."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                found: T = self._entries[key]
                return found
            loaded = load()
            self._entries[key] = loaded
            while len(self._entries) > 1 and self._is_full():
                self._entries.popitem(last=False)
            return loaded

    def has(self, key: Hashable) -> bool:
        """Whether the entry is here."""
        return key in self._entries

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def _is_full(self) -> bool:
        return len(self._entries) > _MAX_ENTRIES or self._bytes() > self._limit_bytes

    def _bytes(self) -> int:
        return sum(getattr(entry, "nbytes", 0) for entry in self._entries.values())
