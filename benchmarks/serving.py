"""Served `similar` by id over all lesions of DeepLesion, beside an exact search by FAISS.

Ingests the two annotation tables into a store, serves it from another process, and asks for the ten
nearest lesions of other patients, one call at a time. The answers must be those of FAISS.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from tumorbase.ingest.pipeline import IngestOptions
from tumorbase.query.answers import SimilarQuestion
from tumorbase.server.client import Client
from tumorbase.server.local import LocalClient
from tumorbase.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 10
TARGET_P50_MS = 10.0


@dataclass(frozen=True)
class Lesions:
    """Vectors as they are compared, float32 (n, dim) of unit length, and whose they are."""

    matrix: np.ndarray
    ids: np.ndarray
    patient_ids: np.ndarray


def make_store(annotations: Path, path: Path) -> Lesions:
    """A store of all annotated lesions, closed again, and its vectors."""
    store = Store.create(path)
    with LocalClient(store) as client:
        client.ingest([annotations], IngestOptions(source="deeplesion", workers=1))
        view = store.view()
        vectors = view.vectors(view.encoder("lesion", "measurement"))
        ids, patients = (vectors.rows[name].to_numpy() for name in ("lesion_id", "patient_id"))
        return Lesions(vectors.matrix, ids, patients)


def start_server(path: Path) -> tuple[subprocess.Popen[str], str]:
    """A server process and its address."""
    program = "from tumorbase.server.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", "--store", str(path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    match = re.search(r"on (\S+)$", process.stdout.readline())
    assert match, "the server did not start"
    return process, match[1]


def ask_served(address: str, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each call (n,) and the distances it found (n, LIMIT)."""
    milliseconds, distances = [], []
    with Client(address) as client:
        client.similar(SimilarQuestion("lesion", str(ids[0])))  # the first call loads the vectors
        for lesion_id in ids:
            started = time.perf_counter()
            found = client.similar(SimilarQuestion("lesion", str(lesion_id), limit=LIMIT))
            milliseconds.append(1e3 * (time.perf_counter() - started))
            distances.append([hit.distance for hit in found.hits])
    return np.array(milliseconds), np.array(distances)


def ask_faiss(lesions: Lesions, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each search (n,) and the distances to other patients (n, LIMIT)."""
    index = faiss.IndexFlatIP(lesions.matrix.shape[1])
    index.add(lesions.matrix)
    own = int(np.unique(lesions.patient_ids, return_counts=True)[1].max())  # may all come first
    milliseconds, distances = [], []
    for row in rows:
        started = time.perf_counter()
        similarities, found = index.search(lesions.matrix[row : row + 1], LIMIT + own)
        is_other = lesions.patient_ids[found[0]] != lesions.patient_ids[row]
        distances.append(1 - similarities[0][is_other][:LIMIT])
        milliseconds.append(1e3 * (time.perf_counter() - started))
    return np.array(milliseconds), np.array(distances)


def main() -> None:
    """Print both, and fail where the answers differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("TUMORBASE_SHARED", ROOT.parent / "shared"))
    annotations = shared / "data" / "deeplesion" / "fm_annotations"
    parser.add_argument("--annotations", type=Path, default=annotations)
    parser.add_argument("--calls", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lesions = make_store(arguments.annotations, Path(folder) / "store")
        rows = np.random.default_rng(0).choice(len(lesions.ids), arguments.calls, replace=False)
        process, address = start_server(Path(folder) / "store")
        try:
            served_ms, served = ask_served(address, lesions.ids[rows])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    faiss_ms, exact = ask_faiss(lesions, rows)
    np.testing.assert_allclose(served, exact, atol=2e-6)
    print(f"{len(lesions.ids)} lesions of {lesions.matrix.shape[1]} numbers, {len(rows)} queries")
    for name, ms in (("served similar by id", served_ms), ("FAISS flat, in process", faiss_ms)):
        p50, p95 = np.percentile(ms, [50, 95])
        print(f"{name:24} p50 {p50:6.2f} ms   p95 {p95:6.2f} ms")
    print(f"distances equal; target p50 <= {TARGET_P50_MS:g} ms")


if __name__ == "__main__":
    main()
