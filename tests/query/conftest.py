"""Stores made row by row, for tests of questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.store.commit import CommitContent, StagedVectors
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.schema import METADATA, VECTOR_ROWS
from tumorbase.store.store import Store

Records = Sequence[dict[str, Any]]
Vectors = Sequence[tuple[StoredEncoder, Records, np.ndarray]]


@pytest.fixture
def store(tmp_path: Path):
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


@pytest.fixture(scope="session")
def encoder() -> Callable[..., StoredEncoder]:
    """Makes an encoder: of its name, level and dimension, and whether it is standardised."""

    def make(name: str, level: str, dim: int, is_standardised: bool = False) -> StoredEncoder:
        features = tuple(f"f{index}" for index in range(dim)) if is_standardised else ()
        return StoredEncoder(
            f"{name}-1-abc", name, "1", level, dim, "w", "{}", is_standardised, features
        )

    return make


@pytest.fixture(scope="session")
def put() -> Callable[..., int]:
    """Commits an item: records by metadata table, and (encoder, records, vectors) of each encoder.

    A column that a record has not is null.
    """

    def commit(
        store: Store, key: str, tables: dict[str, Records] | None = None, vectors: Vectors = ()
    ) -> int:
        rows = {name: _table(METADATA[name], records) for name, records in (tables or {}).items()}
        staged = [_stage(store, f"{key}-{place}", *each) for place, each in enumerate(vectors)]
        return store.commit(CommitContent(key, "test", key, "1", "run", rows, tuple(staged)))

    return commit


def _table(schema: pa.Schema, records: Records) -> pa.Table:
    full = [{name: record.get(name) for name in schema.names} for record in records]
    return pa.Table.from_pylist(full, schema=schema)


def _stage(
    store: Store, name: str, encoder: StoredEncoder, records: Records, vectors: np.ndarray
) -> StagedVectors:
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, encoder.dim)
    table = _table(VECTOR_ROWS[encoder.level], records).append_column("vector", column)
    file = store.staging() / f"{name}.arrows"
    with pa.ipc.new_stream(str(file), table.schema) as writer:
        writer.write_table(table)
    return StagedVectors(encoder, file)
