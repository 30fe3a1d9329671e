"""Blocking work, such as all reading and writing of the store, beside the server's event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_END = object()


class Threads:
    """A bounded number of threads; work that finds none free waits its turn."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="store")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns; if the caller is cancelled before its turn, it never runs."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def run_cancellable(self, work: Callable[[Callable[[], bool]], T]) -> T:
        """What `work` returns, which is given a function that tells if the caller was cancelled."""
        cancelled = threading.Event()
        try:
            return await self.run(work, cancelled.is_set)
        finally:
            cancelled.set()

    async def stream(self, items: Generator[T]) -> AsyncIterator[T]:
        """The items, each made in a thread when it is asked for.

        If the caller is cancelled, the generator is closed as soon as its current step is done.
        """
        one_step = threading.Lock()

        def step() -> Any:
            with one_step:
                return next(items, _END)

        def close() -> None:
            with one_step:
                items.close()

        try:
            while (item := await self.run(step)) is not _END:
                yield item
        finally:
            with suppress(RuntimeError):  # shut down: nothing is left to be closed
                self._pool.submit(close)

    async def report(
        self, work: Callable[[Callable[[T], None], Callable[[], bool]], R]
    ) -> AsyncIterator[T | R]:
        """What `work` tells while it runs, and last what it returns.

        `work` is given a function to tell by, and one that says whether the caller was cancelled.
        """
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Any]()
        cancelled = threading.Event()

        def tell(item: T) -> None:
            loop.call_soon_threadsafe(told.put_nowait, item)

        running = asyncio.ensure_future(self.run(work, tell, cancelled.is_set))
        running.add_done_callback(lambda _: told.put_nowait(_END))
        try:
            while (item := await told.get()) is not _END:
                yield item
            yield await running
        finally:
            cancelled.set()

    def close(self) -> None:
        """Wait for the work at hand; what waits for its turn is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
