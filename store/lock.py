"""One process owns a store directory at a time; another one is told which."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from tumorbase.store.errors import StoreBusy

LOCK_FILE = "owner.lock"


class StoreLock:
    """Holds the store's lock file until released; the file says who holds it.

    Raises:
        StoreBusy: another process holds it; the message names the process and how to reach it.
        OSError: the file cannot be written, for example on a read-only disk.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(store / LOCK_FILE, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 1000, 0).decode() or "another process"
            os.close(descriptor)
            raise StoreBusy(
                f"store {store} is in use by {owner}; "
                "ask through its server with --server HOST:PORT, or wait until it is done"
            ) from None
        self._descriptor: int | None = descriptor
        try:
            self.describe(f"process {os.getpid()}")
        except OSError:  # a full disk
            self.release()
            raise

    def describe(self, owner: str) -> None:
        """Write who holds the store, such as `process 12 (serving on 127.0.0.1:50051)`."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, owner.encode(), 0)

    def release(self) -> None:
        """Let the next process in. The file stays: removing it would let two in at once."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> StoreLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
