"""Import of 1,000,000 patch features of 512 floats from one .h5: rows a second and peak memory."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np

from tumorbase.ingest.item import Context
from tumorbase.ingest.patch_features import plan_patch_features, read_patch_features


def main() -> None:
    """Print the measurement as one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "uni", "S1.h5")
        path.parent.mkdir()
        _write_features(path, options.rows, options.dim)
        print(json.dumps(_measure(path, options.rows)))


def _write_features(path: Path, rows: int, dim: int) -> None:
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        features = file.create_dataset("features", (rows, dim), np.float32)
        for start in range(0, rows, 16_384):
            stop = min(start + 16_384, rows)
            features[start:stop] = generator.standard_normal((stop - start, dim), np.float32)
        place = np.arange(rows, dtype=np.int64)
        coords = file.create_dataset(
            "coords", data=np.stack([place % 1024, place // 1024], 1) * 512
        )
        coords.attrs["patch_size_level0"] = 512


def _measure(path: Path, rows: int) -> dict[str, float]:
    (item,) = plan_patch_features([path], lambda name: name).items
    memory = _peak_mib()
    started = perf_counter()
    read = read_patch_features(item, Context(path.parent))
    seconds = perf_counter() - started
    assert read.vectors[0].rows == rows
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "megabytes_per_second": round(path.stat().st_size / seconds / 1e6),
        "peak_mib_before": memory,
        "peak_mib": _peak_mib(),
    }


def _peak_mib() -> float:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    main()
