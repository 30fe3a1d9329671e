"""Vector tables in LanceDB: one a level and encoder, rows only added."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.expr import col, lit
from lancedb.index import BTree

from tumorbase.store.checksum import checksum_rows
from tumorbase.store.disk_errors import is_disk_error
from tumorbase.store.errors import StoreDamaged
from tumorbase.store.schema import ID_COLUMN
from tumorbase.store.statistics import VectorStatistics, describe_vectors, merge_statistics

SCAN_ROWS = 16_384
_COMPACT_FRAGMENTS = 24
_INDEX_ROWS = 50_000  # below, a scan takes no longer than an index
_INDEX = "patient_id_idx"


@dataclass(frozen=True)
class Written:
    """What one commit put into a vector table."""

    level: str
    encoder_id: str
    rows: int
    checksum: int
    statistics: VectorStatistics


def vector_matrix(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A fixed-size list column as a matrix, float32 (rows, dim)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of no chunks
        return np.empty((0, array.type.list_size), dtype=np.float32)
    return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, array.type.list_size)


class VectorTables:
    """The LanceDB side of a store. Knows no commit but by its number."""

    def __init__(self, folder: Path) -> None:
        self._database = lancedb.connect(str(folder))
        self._handles: dict[str, lancedb.table.Table] = {}
        self._guard = threading.Lock()  # held to begin or end a reading, and to compact
        self._readings = 0

    def names(self) -> list[tuple[str, str]]:
        """(level, encoder_id) of every table there is."""
        found = self._database.list_tables(limit=100_000).tables
        names = [(level, encoder) for level, encoder in (name.split("__", 1) for name in found)]
        return [name for name in names if self._exists(*name)]

    def append(
        self, level: str, encoder_id: str, files: Sequence[tuple[int, Path]]
    ) -> list[tuple[int, Written]]:
        """Stream Arrow files in, each under its commit's number: one write, constant memory."""
        with pa.OSFile(str(files[0][1])) as source, pa.ipc.open_stream(source) as reader:
            schema = pa.schema([("commit_id", pa.int64()), *reader.schema])
        parts: dict[int, list[VectorStatistics]] = {commit_id: [] for commit_id, _ in files}
        checksums: Counter[int] = Counter()

        def tagged() -> Iterator[pa.RecordBatch]:
            for commit_id, batch in _batches(files):
                vectors = vector_matrix(batch.column("vector"))
                parts[commit_id].append(describe_vectors(vectors))
                checksums[commit_id] += checksum_rows(batch.column(ID_COLUMN[level]), vectors)
                commit_column = pa.repeat(pa.scalar(commit_id, pa.int64()), len(batch))
                yield pa.RecordBatch.from_arrays([commit_column, *batch.columns], schema=schema)

        table = self._open_or_create(level, encoder_id, schema)
        table.add(pa.RecordBatchReader.from_batches(schema, tagged()))
        none = [describe_vectors(_no_vectors(schema))]
        return [
            (commit_id, _written(level, encoder_id, described or none, checksums[commit_id]))
            for commit_id, described in parts.items()
        ]

    def scan(
        self, level: str, encoder_id: str, commit_id: int, columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of commits up to `commit_id`, superseded ones too, in the order of writing.

        Raises:
            StoreDamaged: files of the table are gone or cannot be read.
        """
        with self._reading(), _whole(level, encoder_id):
            table = self._table(level, encoder_id)
            query = table.search().where(col("commit_id") <= lit(commit_id))
            if columns is not None:
                query = query.select(["commit_id", *columns])
            yield from query.limit(None).to_batches(SCAN_ROWS)

    def find(self, level: str, encoder_id: str, column: str, value: str) -> pa.Table:
        """All rows whose `column` has this value, of every commit."""
        is_it = col(column) == lit(value)
        with self._reading(), _whole(level, encoder_id):
            return self._table(level, encoder_id).search().where(is_it).limit(None).to_arrow()

    def schema(self, level: str, encoder_id: str) -> pa.Schema:
        """Columns of a table, `commit_id` first."""
        return self._table(level, encoder_id).schema

    def delete_commit(self, level: str, encoder_id: str, commit_id: int) -> int:
        """Delete the rows of one commit; how many there were."""
        result = self._table(level, encoder_id).delete(
            (col("commit_id") == lit(commit_id)).to_sql()
        )
        return result.num_deleted_rows  # type: ignore[attr-defined]

    def delete_after(self, commit_id: int) -> int:
        """Delete what a process left that died before its commit; how many rows there were.

        Raises:
            StoreDamaged: files of a table are gone or cannot be read.
        """
        deleted = 0
        for level, encoder_id in self.names():
            with _whole(level, encoder_id):
                table = self._table(level, encoder_id)
                orphans = (col("commit_id") > lit(commit_id)).to_sql()
                if table.count_rows(orphans):
                    deleted += table.delete(orphans).num_deleted_rows  # type: ignore[attr-defined]
        return deleted

    def drop(self, level: str, encoder_id: str) -> None:
        """Delete a whole table, and need not read it for that."""
        name = f"{level}__{encoder_id}"
        self._handles.pop(name, None)
        self._database.drop_table(name)

    def compact(self) -> None:
        """Merge the small fragments that many small commits leave, drop the versions before, and
        index the patients of large tables, which training reads one by one.

        Time travel goes by commit numbers in the rows, so no older version is ever read again. Left
        to another time while somebody reads: files would vanish that a scan has still to come to.
        """
        with self._guard:
            if self._readings:
                return
            for level, encoder_id in self.names():
                table = self._table(level, encoder_id)
                index = table.index_stats(_INDEX)
                unindexed = index.num_unindexed_rows if index else table.count_rows()
                fragments = table.stats()["fragment_stats"]["num_fragments"]  # type: ignore[index]
                if fragments >= _COMPACT_FRAGMENTS or (index and unindexed >= _INDEX_ROWS):
                    # Not 0, of which LanceDB warns: another process might read. Here none may.
                    table.optimize(cleanup_older_than=timedelta(milliseconds=1))
                if not index and unindexed >= _INDEX_ROWS:
                    table.create_index("patient_id", config=BTree(), name=_INDEX)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._guard:
            self._readings += 1
        try:
            yield
        finally:
            with self._guard:
                self._readings -= 1

    def _table(self, level: str, encoder_id: str) -> lancedb.table.Table:
        name = f"{level}__{encoder_id}"
        if name not in self._handles:
            self._handles[name] = self._database.open_table(name)
        return self._handles[name]

    def _exists(self, level: str, encoder_id: str) -> bool:
        """Whether a table that is listed is one: a process may have died while it made it."""
        try:
            self._table(level, encoder_id)
        except ValueError as error:
            if "was not found" not in str(error):
                raise
            return False
        return True

    def _open_or_create(
        self, level: str, encoder_id: str, schema: pa.Schema
    ) -> lancedb.table.Table:
        name = f"{level}__{encoder_id}"
        if name not in self._handles and (level, encoder_id) not in self.names():
            self._handles[name] = self._database.create_table(name, schema=schema)
        return self._table(level, encoder_id)


@contextmanager
def _whole(level: str, encoder_id: str) -> Iterator[None]:
    """Raises StoreDamaged for what LanceDB raises where a table's files are gone or cut."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        if is_disk_error(error) or "lance error" not in str(error):
            raise
        raise StoreDamaged(
            f"vectors of {level}/{encoder_id} cannot be read; `tumorbase check --repair` withdraws "
            f"their items, and the next ingest of their source brings them anew: {error}"
        ) from error


def _batches(files: Sequence[tuple[int, Path]]) -> Iterator[tuple[int, pa.RecordBatch]]:
    for commit_id, file in files:
        # Not memory-mapped: pages of the whole file would count as this process's memory.
        with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield commit_id, batch


def _written(
    level: str, encoder_id: str, parts: Sequence[VectorStatistics], checksum: int
) -> Written:
    statistics = merge_statistics(parts)
    return Written(level, encoder_id, statistics.rows, checksum % 2**63, statistics)


def _no_vectors(schema: pa.Schema) -> np.ndarray:
    return np.empty((0, schema.field("vector").type.list_size), dtype=np.float32)
