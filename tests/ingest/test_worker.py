"""What a worker process knows when it begins."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from tumorbase.ingest.worker import prepare_worker
from tumorbase.models.once import found_so_far
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import find_weights


def test_a_worker_does_not_hash_weights_that_the_ingesting_process_has_hashed(
    tmp_path: Path,
) -> None:
    """Other bytes, of which nothing but reading would tell, keep the hash that is known."""
    path = tmp_path / "snn.safetensors"
    path.write_bytes(b"as they were")
    here = find_weights(PUBLISHED["snn"], tmp_path)
    status = path.stat()
    path.write_bytes(b"otherwise 12")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=prepare_worker, initargs=(found_so_far(),)) as p:
        assert p.submit(find_weights, PUBLISHED["snn"], tmp_path).result() == here
        os.utime(path)
        changed = p.submit(find_weights, PUBLISHED["snn"], tmp_path).result()
    assert changed == replace(here, sha256=changed.sha256) != here
