"""What a worker process does: read one item, encode it, hand back its rows."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from importlib import import_module
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from tumorbase.models.once import Answers, remember
from tumorbase.models.weights import UnusableWeights
from tumorbase.store.disk_errors import is_disk_error
from tumorbase.store.errors import BadInput, MissingWeights, StoreNotWritable

if TYPE_CHECKING:
    from tumorbase.ingest.item import Context, Item, ItemRows


def prepare_worker(found: Answers) -> None:
    """One thread a worker: the workers share the cores, and more threads would only contend. What
    the ingesting process found out, `once.found_so_far`, is not found out again.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    remember(found)
    threading.Thread(target=die_with_parent, daemon=True).start()


def die_with_parent() -> None:
    """End this process when the ingesting one is killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def read_item(item: Item, context: Context, pseudonym_key: bytes | None) -> ItemRows | BadInput:
    """The rows of one item, or why it has none.

    Raises:
        MissingWeights: those of a network do not fit it.
        StoreNotWritable: the disk is full under the staging folder.
    """
    from tumorbase.ingest.pseudonyms import pseudonymise
    from tumorbase.ingest.readers import READERS

    module, _, function = READERS[item.kind].partition(":")
    started = time.perf_counter()
    try:
        rows: ItemRows = getattr(import_module(module), function)(item, context)
        if pseudonym_key:
            rows = pseudonymise(rows, pseudonym_key)
    except BadInput as error:
        return error
    except UnusableWeights as error:
        raise MissingWeights(str(error)) from error
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise StoreNotWritable(f"cannot write to {context.staging}: {error.strerror}") from error
    rows.seconds.setdefault("read", time.perf_counter() - started)
    return rows
