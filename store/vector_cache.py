"""Vectors that were read, kept in memory while they fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tumorbase.store.view import Vectors


class VectorCache:
    """The most recently used vectors, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, Vectors] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], Vectors]) -> Vectors:
        """The entry of `key`, loaded if it is not here; what was used longest ago makes room."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
            loaded = load()
            self._entries[key] = loaded
            while len(self._entries) > 1 and self._bytes() > self._limit_bytes:
                self._entries.popitem(last=False)
            return loaded

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def _bytes(self) -> int:
        return sum(
            entry.raw.nbytes + entry.matrix.nbytes + entry.rows.nbytes
            for entry in self._entries.values()
        )
