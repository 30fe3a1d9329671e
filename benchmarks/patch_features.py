"""Import of 1,000,000 patch features of 512 floats: rows a second and peak memory, end to end.

Beside it, as the peer, the same file streamed into a bare LanceDB table by hand: no ids of patches
checked, no commit, no checksum, no statistics.

    python benchmarks/patch_features.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import h5py
import lancedb
import numpy as np
import pyarrow as pa

from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.store.store import Store

CHUNK_ROWS = 16_384


def main() -> None:
    """Print the measurements as one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "uni", "S1.h5")
        file.parent.mkdir()
        _write_features(file, options.rows, options.dim)
        ours = _in_process(_ingest, file)
        peer = _in_process(_bare_lancedb, file)
    print(
        json.dumps(
            {
                "rows": options.rows,
                "dim": options.dim,
                "tumorbase": ours,
                "bare_lancedb": peer,
                "rate_over_peer": round(ours["rows_per_second"] / peer["rows_per_second"], 2),
            },
            indent=1,
        )
    )


def _write_features(file: Path, rows: int, dim: int) -> None:
    generator = np.random.default_rng(0)
    with h5py.File(file, "w") as sink:
        features = sink.create_dataset("features", (rows, dim), np.float32)
        for start in range(0, rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, rows)
            features[start:stop] = generator.standard_normal((stop - start, dim), np.float32)
        place = np.arange(rows, dtype=np.int64)
        grid = np.stack([place % 1024, place // 1024], 1) * 512
        sink.create_dataset("coords", data=grid).attrs["patch_size_level0"] = 512


def _in_process(measured: Callable[[Path], int], file: Path) -> dict[str, float]:
    """Rate and peak memory of one way, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        return pool.apply(_measure, (measured, file))


def _measure(measured: Callable[[Path], int], file: Path) -> dict[str, float]:
    before = _peak_mib()
    started = perf_counter()
    rows = measured(file)
    seconds = perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "peak_mib_before": before,
        "peak_mib": _peak_mib(),
    }


def _ingest(file: Path) -> int:
    with Store.create(file.parents[1] / "store") as store:
        options = IngestOptions(source="features", workers=1)
        return ingest(store, [file], options).added["patches"]


def _bare_lancedb(file: Path) -> int:
    with h5py.File(file) as source:
        rows, dim = source["features"].shape
        schema = pa.schema(
            [("x", pa.int64()), ("y", pa.int64()), ("vector", pa.list_(pa.float32(), dim))]
        )

        def batches() -> Iterator[pa.RecordBatch]:
            for start in range(0, rows, CHUNK_ROWS):
                x, y = source["coords"][start : start + CHUNK_ROWS].T
                values = pa.array(source["features"][start : start + CHUNK_ROWS].ravel())
                vectors = pa.FixedSizeListArray.from_arrays(values, dim)
                yield pa.record_batch([pa.array(x), pa.array(y), vectors], schema=schema)

        table = lancedb.connect(str(file.parents[1] / "bare")).create_table("patch", schema=schema)
        table.add(pa.RecordBatchReader.from_batches(schema, batches()))
        return table.count_rows()


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
