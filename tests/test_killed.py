"""Whatever is killed and whenever: the store opens clean, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.query.answers import SimilarQuestion
from tumorbase.server.client import Client
from tumorbase.store.errors import Unavailable
from tumorbase.store.schema import ID_COLUMN, METADATA
from tumorbase.store.store import Store
from tumorbase.store.vectors import VectorTables

KILLS = 12
OPTIONS = IngestOptions(workers=1, mpp=0.5)


def command(*words: object) -> list[str]:
    """A tumorbase command, started as from a shell."""
    return [sys.executable, "-m", "tumorbase.server.cli", *map(str, words)]


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A running command in a process group of its own, killed at the end if it still runs."""
    process = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "LANCE_LOG": "error"},
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_group(process)


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the command and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)


def ingesting(cohort: Path, store: Path, workers: int = 1) -> tuple[object, ...]:
    """The words of an ingest."""
    return "ingest", cohort, "--store", store, "--mpp", 0.5, "--workers", workers, "--json"


def traces(store: Path) -> tuple[int, int]:
    """What changes with each write: files of the vector tables, and size of DuckDB's log."""
    files = sum(len(names) for _, _, names in os.walk(store / "vectors"))
    log = store / "metadata.duckdb.wal"
    try:
        return files, log.stat().st_size
    except FileNotFoundError:
        return files, 0


def wait_for_writes(process: subprocess.Popen[str], store: Path, count: int) -> None:
    """Until the store's files changed `count` times, or the process ended."""
    seen = traces(store)
    while count and process.poll() is None:
        time.sleep(0.002)
        if (now := traces(store)) != seen:
            seen, count = now, count - 1


def content(store: Store) -> dict[str, list[str]]:
    """All that is visible, without the times of commits: rows by table, vectors by encoder."""
    view = store.view()
    found = {name: rows_of(view.table(name)) for name in METADATA}
    for encoder in view.encoders():
        vectors = view.vectors(encoder)
        name = f"{encoder.level}/{encoder.encoder_id}"
        bits = [row.tobytes().hex() for row in vectors.raw]
        ids = vectors.rows[ID_COLUMN[encoder.level]].to_pylist()
        assert len(set(ids)) == len(ids)
        found[name] = sorted(map(" ".join, zip(ids, bits, strict=True)))
    return found


def rows_of(table: pa.Table) -> list[str]:
    """The rows as text, sorted, without the times that a commit gave them."""
    kept = [name for name in table.column_names if name not in ("event_time", "known_at")]
    return sorted(json.dumps(row, default=str) for row in table.select(kept).to_pylist())


def statistics(store: Store) -> dict[str, tuple[int, np.ndarray, np.ndarray]]:
    """Rows, mean and deviation by encoder."""
    view = store.view()
    by_encoder = {encoder.encoder_id: view.statistics(encoder) for encoder in view.encoders()}
    return {name: (s.rows, s.mean, s.deviation) for name, s in by_encoder.items()}


def assert_equal_stores(one: Store, other: Store) -> None:
    """The same rows, the same vectors bit by bit, the same statistics."""
    assert content(one) == content(other)
    ours, theirs = statistics(one), statistics(other)
    assert ours.keys() == theirs.keys()
    for name, (rows, mean, deviation) in ours.items():
        assert rows == theirs[name][0]
        np.testing.assert_allclose(mean, theirs[name][1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(deviation, theirs[name][2], rtol=1e-9, atol=1e-12)


def newest_vectors(path: Path) -> int:
    """The highest commit number that any vector bears, committed or not."""
    tables = VectorTables(path / "vectors")
    numbers = [
        batch["commit_id"].to_numpy().max()
        for level, encoder in tables.names()
        for batch in tables.scan(level, encoder, np.iinfo(np.int64).max, [])
        if len(batch)
    ]
    return int(max(numbers, default=0))


@pytest.fixture
def undisturbed(small_cohort: Path, tmp_path: Path) -> Iterator[Store]:
    """The store of a run that nobody killed."""
    with Store.create(tmp_path / "undisturbed") as store:
        assert ingest(store, [small_cohort], OPTIONS).quarantined == ()
        yield store


@pytest.mark.slow
def test_killed_at_any_moment_an_ingest_loses_nothing(small_cohort, undisturbed, tmp_path):
    chance = random.Random(20)
    kills, orphans, stores = 0, 0, [tmp_path / "killed-0"]
    visible: set[str] = set()
    while kills < KILLS:
        path = stores[-1]
        with started(*ingesting(small_cohort, path, workers=1 + (kills % 5 == 4))) as process:
            wait_for_writes(process, path, chance.randint(1, 12))
            time.sleep(chance.choice([0, 0, 0, 0.01, 0.1]) * chance.random())
            if process.poll() is None:
                kill_group(process)
                kills += 1
        if not path.exists():
            continue  # killed before the store was there
        vectors = newest_vectors(path)
        with Store.open(path) as store:
            orphans += vectors > store.last_commit()
            assert store.check().is_clean
            now = {f"{table} {row}" for table, rows in content(store).items() for row in rows}
            assert visible <= now
        visible = now
        if process.returncode == 0:  # all of it was in: begin anew
            stores.append(tmp_path / f"killed-{len(stores)}")
            visible = set()
    assert orphans, "no kill fell between the vectors and their transaction"
    for path in stores:
        if not path.exists():
            continue
        with Store.open(path) as store:
            assert ingest(store, [small_cohort], OPTIONS).quarantined == ()
            assert store.check().is_clean
            assert_equal_stores(store, undisturbed)
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".killed")] == []


def test_workers_end_when_the_ingesting_process_is_killed(small_cohort, tmp_path):
    with started(*ingesting(small_cohort, tmp_path / "store", workers=2)) as process:
        parent, workers = psutil.Process(process.pid), []
        while len(workers) < 3 and process.poll() is None:  # two, and Python's resource tracker
            time.sleep(0.01)
            workers = parent.children(recursive=True)
        assert len(workers) >= 3
        process.kill()  # the process alone, not its group
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


@contextmanager
def serving(store: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A server process of the store, and its client."""
    with started("serve", "--store", store, "--port", 0) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with Client(address) as client:
            yield process, client


def ask_for_ever(client: Client, question: SimilarQuestion) -> None:
    """The same question again and again."""
    while True:
        client.similar(question)


def test_a_server_killed_during_queries_leaves_a_clean_store(undisturbed):
    before, path = content(undisturbed), undisturbed.path
    undisturbed.close()
    lesion = json.loads(before["lesion"][0])["lesion_id"]
    question = SimilarQuestion("lesion", id=lesion, limit=3)
    with serving(path) as (process, client):
        for _ in range(20):
            assert client.similar(question).hits
        threading.Timer(0.2, kill_group, [process]).start()
        with pytest.raises(Unavailable):
            ask_for_ever(client, question)
    with Store.open(path) as store:
        assert store.check().is_clean
        assert content(store) == before


def test_a_server_killed_during_an_ingest_leaves_a_clean_store(small_cohort, undisturbed, tmp_path):
    path = tmp_path / "served"
    Store.create(path).close()
    with serving(path) as (process, client):

        def kill(_: Any) -> None:
            if process.poll() is None:
                kill_group(process)

        with pytest.raises(Unavailable):
            client.ingest([small_cohort], OPTIONS, kill)
    with Store.open(path) as store:
        assert store.last_commit() > 0
        assert store.check().is_clean
        summary: IngestSummary = ingest(store, [small_cohort], OPTIONS)
        assert summary.unchanged > 0
        assert_equal_stores(store, undisturbed)


def test_a_second_command_is_told_who_owns_the_store(undisturbed, small_cohort):
    path = undisturbed.path
    for words in (("status", "--store", path), ingesting(small_cohort, path)):
        with started(*words) as process:
            printed, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert printed == ""
        (line,) = said.splitlines()
        assert line.startswith("error: ")
        assert f"process {os.getpid()}" in line
        assert "--server" in line
