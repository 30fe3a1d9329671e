"""Items become rows: read here, or read ahead in spawned workers where that pays."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice

from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.worker import prepare_worker, read_item
from tumorbase.models.once import found_so_far
from tumorbase.store.errors import BadInput, WorkerDied

Read = tuple["Pending", ItemRows | BadInput]


@dataclass(frozen=True)
class Pending:
    """An item to read, the hash of its content, and what its reader is told."""

    item: Item
    content: str
    context: Context


def read_pending(
    pending: Iterator[Pending], workers: int, pseudonym_key: bytes | None
) -> Iterator[Read]:
    """Rows of the items, in their order, or why there are none.

    Raises:
        WorkerDied: a worker process was killed, most likely for want of memory.
    """
    first = list(islice(pending, 2))
    items = chain(first, pending)
    # One item has nothing to be read beside: spare the processes' start.
    if workers == 1 or len(first) < 2:
        for each in items:
            yield each, read_item(each.item, each.context, pseudonym_key)
    else:
        yield from _read_in_workers(items, workers, pseudonym_key)


def _read_in_workers(
    items: Iterator[Pending], workers: int, pseudonym_key: bytes | None
) -> Iterator[Read]:
    # grpc and lancedb do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    running: deque[tuple[Pending, Future[ItemRows | BadInput]]] = deque()
    found = (found_so_far(),)
    with ProcessPoolExecutor(workers, spawn, initializer=prepare_worker, initargs=found) as pool:
        try:
            while True:
                for each in islice(items, 2 * workers - len(running)):
                    future = pool.submit(read_item, each.item, each.context, pseudonym_key)
                    running.append((each, future))
                if not running:
                    return
                each, future = running.popleft()
                yield each, future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                f"a worker process died at {each.item.path} or soon after it, perhaps for want of "
                "memory; what is committed stays, and the next run goes on from there "
                "(try --workers 1)"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
