"""The store's promises, over the real DuckDB and LanceDB."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from tumorbase.store import vectors
from tumorbase.store.commit import CommitContent, StagedVectors
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import (
    InvalidRequest,
    NoStore,
    NotFound,
    StoreBusy,
    StoreDamaged,
    StoreVersion,
)
from tumorbase.store.schema import METADATA, VECTOR_ROWS
from tumorbase.store.store import FORMAT_FILE, Store

ENCODER = StoredEncoder("size-1-abc", "size", "1", "lesion", 3, "w", "{}", is_standardised=True)


@pytest.fixture
def store(tmp_path: Path):
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


def stage(store: Store, ids: list[str], vectors: np.ndarray) -> StagedVectors:
    """Vectors of lesions of one patient each, staged as ingest does it."""
    file = store.staging() / f"{'-'.join(ids)}.arrows"
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype("f4").ravel()), 3)
    table = pa.table(
        {"lesion_id": ids, "patient_id": [f"p-{i}" for i in ids], "vector": column},
        schema=pa.schema([*VECTOR_ROWS["lesion"], ("vector", column.type)]),
    )
    with pa.ipc.new_stream(str(file), table.schema) as writer:
        writer.write_table(table)
    return StagedVectors(ENCODER, file)


def lesion_rows(ids: list[str]) -> pa.Table:
    """Lesion rows of which only the ids are known."""
    columns = {field.name: pa.nulls(len(ids), field.type) for field in METADATA["lesion"]}
    columns |= {"lesion_id": ids, "patient_id": [f"p-{i}" for i in ids]}
    return pa.table(columns, schema=METADATA["lesion"])


def put(store: Store, key: str, ids: list[str], fill: float = 1.0) -> int:
    """Commit lesions with vectors `fill`, `fill` + 1, ..."""
    vectors = fill + np.arange(3 * len(ids)).reshape(-1, 3) ** 1.5
    content = CommitContent(
        key, "ct", f"{key}.nii", f"print-{key}-{fill}", "run",
        {"lesion": lesion_rows(ids)}, (stage(store, ids, vectors),),
    )  # fmt: skip
    return store.commit(content)


def ids_of(store: Store, commit: int | None = None) -> set[str]:
    """Lesions visible in metadata, which must be those visible among the vectors."""
    view = store.view(commit)
    in_metadata = set(view.table("lesion")["lesion_id"].to_pylist())
    in_vectors = {
        identifier
        for encoder in view.encoders("lesion")
        for identifier in view.vectors(encoder).rows["lesion_id"].to_pylist()
    }
    assert in_metadata == in_vectors
    return in_metadata


def test_a_commit_is_seen_whole(store):
    assert put(store, "a", ["l1", "l2"]) == 1
    assert ids_of(store) == {"l1", "l2"}


def test_a_new_commit_of_an_item_takes_the_place_of_the_old_one(store):
    first = put(store, "a", ["l1", "l2"])
    put(store, "b", ["l9"])
    put(store, "a", ["l2", "l3"], fill=5)
    assert ids_of(store) == {"l2", "l3", "l9"}
    assert ids_of(store, first) == {"l1", "l2"}


def test_a_snapshot_stays_as_it_was(store):
    put(store, "a", ["l1"])
    store.snapshot("paper")
    put(store, "a", ["l2"], fill=2)
    view = store.view(snapshot="paper")
    assert view.table("lesion")["lesion_id"].to_pylist() == ["l1"]
    with pytest.raises(InvalidRequest, match="do not change"):
        store.snapshot("paper")


def test_statistics_are_those_of_the_visible_vectors_at_each_commit(store):
    first = put(store, "a", ["l1", "l2"])
    put(store, "b", ["l3", "l4", "l5"], fill=-4)
    put(store, "a", ["l6"], fill=9)
    for commit in (first, None):
        view = store.view(commit)
        raw = view.vectors(ENCODER).raw.astype(np.float64)
        statistics = view.statistics(ENCODER)
        np.testing.assert_allclose(statistics.mean, raw.mean(axis=0))
        np.testing.assert_allclose(statistics.deviation, raw.std(axis=0))


def test_what_is_compared_is_standardised_and_of_unit_length(store):
    put(store, "a", ["l1", "l2", "l3"])
    vectors = store.view().vectors(ENCODER)
    standardised = (vectors.raw - vectors.raw.mean(axis=0)) / vectors.raw.std(axis=0)
    expected = standardised / np.maximum(np.linalg.norm(standardised, axis=1), 1e-12)[:, None]
    np.testing.assert_allclose(vectors.matrix, expected, atol=1e-5)


def test_vectors_without_their_transaction_are_gone_when_the_store_is_opened(tmp_path):
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_store as t
from tumorbase.store import store as module
store = module.Store.create({str(tmp_path / "s")!r})
t.put(store, "a", ["l1"])
module._insert_commit = lambda *_: os.kill(os.getpid(), 9)
t.put(store, "b", ["l2"])
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with Store.open(tmp_path / "s") as store:
        assert ids_of(store) == {"l1"}
        assert [len(b) for b in store._tables.scan("lesion", "size-1-abc", 99)] == [1]
        put(store, "b", ["l2"])
        assert ids_of(store) == {"l1", "l2"}


def test_a_second_process_is_told_who_owns_the_store(store):
    store.describe_owner("process 7 (serving on 127.0.0.1:50051)")
    script = f"from tumorbase.store.store import Store; Store.open({str(store.path)!r})"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "StoreBusy" in said.stderr
    assert "process 7 (serving on 127.0.0.1:50051)" in said.stderr


def test_the_second_open_in_one_process_is_refused_too(store):
    with pytest.raises(StoreBusy, match="in use"):
        Store.open(store.path)


def test_a_newer_format_is_refused(store):
    store.close()
    (store.path / FORMAT_FILE).write_text(json.dumps({"format_version": 2}))
    with pytest.raises(StoreVersion, match="format 2"):
        Store.open(store.path)
    (store.path / FORMAT_FILE).write_text(json.dumps({"format_version": 1}))
    Store.open(store.path).close()


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(NoStore, match="no store at"):
        Store.open(tmp_path)
    (tmp_path / "x").write_text("x")
    with pytest.raises(InvalidRequest, match="not empty"):
        Store.create(tmp_path)


def test_unreadable_metadata_is_named(store):
    store.close()
    (store.path / "metadata.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreDamaged, match=r"metadata\.duckdb"):
        Store.open(store.path)


def test_models_are_versioned_by_commit(store):
    first = store.save_model("os", "cox", b"one", {"n": 1})
    store.save_model("os", "cox", b"two", {"n": 2})
    assert store.view().model("os") == ("cox", b"two", '{"n": 2}')
    assert store.view(first).model("os")[1] == b"one"
    with pytest.raises(NotFound, match="pfs"):
        store.view().model("pfs")


def test_unknown_commits_and_snapshots_are_refused(store):
    with pytest.raises(NotFound, match="commit '5'"):
        store.view(5)
    with pytest.raises(NotFound, match="snapshot 'x'"):
        store.view(snapshot="x")


def test_a_table_that_a_process_died_making_is_none(store):
    unfinished = store.path / "vectors" / "lesion__size-1-abc.lance"
    (unfinished / "data").mkdir(parents=True)
    store.close()
    with Store.open(store.path) as again:
        assert again.check().is_clean
        put(again, "a", ["l1"])
        assert ids_of(again) == {"l1"}


def test_compaction_waits_for_those_who_read(store):
    for number in range(30):
        put(store, f"k{number}", [f"l{number}"])
    reading = store.view().scan(ENCODER)
    rows = len(next(reading))
    before = sorted(path.name for path in store.path.rglob("*.lance"))
    store.compact()
    assert sorted(path.name for path in store.path.rglob("*.lance")) == before
    assert rows + sum(len(batch) for batch in reading) == 30
    store.compact()
    assert len(list(store.path.rglob("*.lance"))) < len(before)
    assert len(ids_of(store)) == 30


def test_an_index_of_patients_hides_no_row_and_shows_no_other(store, monkeypatch):
    monkeypatch.setattr(vectors, "_INDEX_ROWS", 10)

    def found(identifier: str, commit: int | None = None) -> list[str]:
        rows = store.view(commit).of_patient(ENCODER, f"p-{identifier}")
        return rows["lesion_id"].to_pylist()

    def indexed() -> int:
        table = lancedb.connect(str(store.path / "vectors")).open_table("lesion__size-1-abc")
        return table.index_stats("patient_id_idx").num_indexed_rows

    first = put(store, "a", [f"l{i}" for i in range(12)])
    store.compact()
    assert indexed() == 12
    put(store, "b", ["l20", "l21"])
    put(store, "a", ["l0", "l30"], fill=5)
    for _ in range(2):  # before these rows are indexed, and after
        assert [found(i) for i in ("l0", "l1", "l20", "l30")] == [["l0"], [], ["l20"], ["l30"]]
        assert [found(i, first) for i in ("l1", "l30")] == [["l1"], []]
        for number in range(30):
            put(store, f"k{number}", [f"k{number}"])
        store.compact()
    assert indexed() == 16 + 30 + 30
    assert found("k29") == ["k29"]
    assert store.check().is_clean


def test_of_two_snapshots_of_one_name_at_once_one_is_refused(store):
    put(store, "a", ["l1"])
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(store.snapshot, "paper") for _ in range(8)]
    assert sorted(type(future.exception()) is InvalidRequest for future in asked) == [
        False, *[True] * 7
    ]  # fmt: skip
