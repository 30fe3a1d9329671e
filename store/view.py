"""What one commit sees: metadata by SQL, vectors by encoder. Nothing in a view ever changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.store.commit import FURTHER_ENCODINGS
from tumorbase.store.commit_cache import CommitCache
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import NotFound
from tumorbase.store.metadata import IS_VISIBLE, visible_query
from tumorbase.store.schema import ID_COLUMN, METADATA
from tumorbase.store.statistics import VectorStatistics, merge_statistics
from tumorbase.store.vectors import VectorTables, vector_matrix

T = TypeVar("T")

# Those whose vectors came last are last.
_ENCODERS = f"""
SELECT e.* FROM main.encoders e
JOIN main.commit_vectors USING (encoder_id)
JOIN main.commits c USING (commit_id)
WHERE ($level = '' OR e.level = $level) AND commit_vectors.vector_rows > 0
  AND {IS_VISIBLE}
GROUP BY ALL ORDER BY max(commit_id), e.level, e.encoder_id
"""
_STATISTICS = f"""
SELECT v.vector_rows, v.mean, v.squared_deviations FROM main.commit_vectors v
JOIN main.commits c USING (commit_id)
WHERE v.encoder_id = $encoder AND v.level = $level AND v.vector_rows > 0
  AND {IS_VISIBLE}
ORDER BY c.item_key
"""
# Several encoders may have encoded the same patches of a slide: the fullest one has them all. What
# is of one slide is told by its id in the item's key, "slide:ID", "features:ID#encoders=..".
_PARTS = f"""
SELECT coalesce(sum(fullest), 0)::BIGINT FROM (
    SELECT max(vector_rows) AS fullest FROM (
        SELECT regexp_replace(split_part(c.item_key, $mark, 1), '^[a-z-]+:', '') AS slide,
            v.encoder_id, sum(v.vector_rows) AS vector_rows
        FROM main.commit_vectors v JOIN main.commits c USING (commit_id)
        WHERE v.level = $level AND {IS_VISIBLE} GROUP BY ALL
    ) GROUP BY slide)
"""
_VISIBLE_COMMITS = f"SELECT c.commit_id FROM main.commits c WHERE {IS_VISIBLE}"
_MODEL = f"""
SELECT m.kind, m.content, m.details FROM main.models m JOIN main.commits c USING (commit_id)
WHERE m.name = $name
  AND {IS_VISIBLE}
"""


@dataclass(frozen=True)
class Vectors:
    """All visible vectors of one encoder.

    `rows` are the table's columns but the vector; `raw` is what was stored, float32 (n, dim);
    `matrix` is what is compared: standardised where the encoder is, then of unit length.
    """

    encoder: StoredEncoder
    rows: pa.Table
    raw: np.ndarray
    matrix: np.ndarray

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return int(self.rows.nbytes + self.raw.nbytes + self.matrix.nbytes)


class View:
    """A store as of one commit. Safe to use from one thread at a time; make one a request."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: VectorTables,
        commit_id: int,
        cache: CommitCache,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._cache = cache
        self.commit_id = commit_id

    def sql(self, query: str, **parameters: Any) -> pa.Table:
        """The answer to `query` over the tables of `schema.METADATA` as this commit sees them.

        `query` names its parameters `$name`; values never become part of its text.
        """
        arguments = {"commit": self.commit_id, **parameters}
        return self._connection.execute(visible_query(query), arguments).to_arrow_table()

    def table(self, name: str) -> pa.Table:
        """All visible rows of a metadata table, with event_time and known_at filled in."""
        if name not in METADATA:
            raise NotFound("table", name)
        return self.remembered(("table", name), lambda: self.sql(f"FROM {name}"))

    def remembered(self, name: Hashable, load: Callable[[], T]) -> T:
        """What `load` made of this commit, kept for later views of it while it fits."""
        return self._cache.get((self.commit_id, name), load)

    def encoders(self, level: str = "") -> list[StoredEncoder]:
        """Encoders of which vectors are visible, of one level or of all, in the order in which
        vectors of them came last.
        """
        return list(self.remembered(("encoders", level), lambda: self._encoders(level)))

    def _encoders(self, level: str) -> list[StoredEncoder]:
        found = self._connection.execute(_ENCODERS, {"level": level, "commit": self.commit_id})
        columns = [column[0] for column in found.description or []]
        rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        return [
            StoredEncoder(**{**row, "feature_names": tuple(row["feature_names"] or ())})
            for row in rows
        ]

    def fullest_encoders(self, level: str) -> list[StoredEncoder]:
        """Encoders of a level, of each name, whatever its version and weights, the one with the
        most vectors; of several that whose vectors came last.
        """
        by_rows = sorted(self.encoders(level), key=self.vector_rows)
        return list({encoder.name: encoder for encoder in by_rows}.values())

    def encoder(self, level: str, name: str) -> StoredEncoder:
        """The encoder of a level by its name or its id: of several versions or weights, the one
        with the most vectors, and of several that whose vectors came last.

        Raises:
            NotFound: no visible vector of this level is of such an encoder.
        """
        named = [e for e in self.encoders(level) if name in (e.name, e.encoder_id)]
        if not named:
            raise NotFound(f"{level} encoder", name)
        return max(reversed(named), key=self.vector_rows)

    def statistics(self, encoder: StoredEncoder) -> VectorStatistics:
        """The cohort statistics of an encoder's visible vectors.

        Raises:
            NotFound: it has none.
        """
        name = ("statistics", encoder.level, encoder.encoder_id)
        return self.remembered(name, lambda: self._statistics(encoder))

    def _statistics(self, encoder: StoredEncoder) -> VectorStatistics:
        arguments = {
            "encoder": encoder.encoder_id,
            "level": encoder.level,
            "commit": self.commit_id,
        }
        parts = [
            VectorStatistics(rows, np.asarray(mean), np.asarray(squared))
            for rows, mean, squared in self._connection.execute(_STATISTICS, arguments).fetchall()
        ]
        if not parts:
            raise NotFound(f"{encoder.level} vector of encoder", encoder.encoder_id)
        return merge_statistics(parts)

    def comparable(self, encoder: StoredEncoder, raw: np.ndarray) -> np.ndarray:
        """Raw vectors (n, dim) as they are compared: standardised if need be, of length 1."""
        vectors = raw.astype(np.float32, copy=False)
        if encoder.is_standardised:
            cohort = self.statistics(encoder)
            vectors = ((raw - cohort.mean) / cohort.deviation).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-12)

    def vectors(self, encoder: StoredEncoder) -> Vectors:
        """All visible vectors of an encoder, in memory; kept for the next call while they fit."""
        return self.remembered(_vectors_name(encoder), lambda: self._load(encoder))

    def scan(
        self, encoder: StoredEncoder, columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Visible rows of a vector table, batch by batch, without `commit_id`."""
        batches = self._tables.scan(encoder.level, encoder.encoder_id, self.commit_id, columns)
        for batch in batches:
            visible = batch.filter(pc.is_in(batch.column("commit_id"), self._visible_commits))
            yield visible.drop_columns(["commit_id"])

    def find(self, encoder: StoredEncoder, identifier: str) -> pa.Table:
        """The visible row of one id with its vector: a table of one row, or of none."""
        if not self._cache.has((self.commit_id, _vectors_name(encoder))):
            return self._find(encoder, ID_COLUMN[encoder.level], identifier)
        loaded = self.vectors(encoder)
        is_it = pc.equal(loaded.rows[ID_COLUMN[encoder.level]], identifier)
        raw = pa.array(loaded.raw[is_it.to_numpy()].ravel())
        vector = pa.FixedSizeListArray.from_arrays(raw, encoder.dim)
        return loaded.rows.filter(is_it).append_column("vector", vector)

    def of_patient(self, encoder: StoredEncoder, patient_id: str) -> pa.Table:
        """The visible rows of one patient with their vectors."""
        return self._find(encoder, "patient_id", patient_id)

    def vector_schema(self, encoder: StoredEncoder) -> pa.Schema:
        """Columns of an encoder's vector table."""
        return self._tables.schema(encoder.level, encoder.encoder_id).remove(0)

    def vector_rows(self, encoder: StoredEncoder) -> int:
        """How many vectors of an encoder are visible."""
        return self.statistics(encoder).rows

    def model(self, name: str) -> tuple[str, bytes, str]:
        """Kind, content and details (JSON) of the newest model of this name.

        Raises:
            NotFound: there is none.
        """
        arguments = {"name": name, "commit": self.commit_id}
        found = self._connection.execute(_MODEL, arguments).fetchone()
        if found is None:
            raise NotFound("model", name)
        return found

    def part_count(self, level: str) -> int:
        """How many patches or nuclei are visible, however many encoders encoded each."""
        arguments = {"level": level, "commit": self.commit_id, "mark": FURTHER_ENCODINGS}
        found = self._connection.execute(_PARTS, arguments).fetchone()
        assert found is not None
        return int(found[0])

    @property
    def _visible_commits(self) -> pa.Array:
        return self.remembered("visible commits", self._read_visible_commits)

    def _read_visible_commits(self) -> pa.Array:
        found = self._connection.execute(_VISIBLE_COMMITS, {"commit": self.commit_id})
        return found.to_arrow_table()["commit_id"].combine_chunks()

    def _find(self, encoder: StoredEncoder, column: str, value: str) -> pa.Table:
        rows = self._tables.find(encoder.level, encoder.encoder_id, column, value)
        visible = rows.filter(pc.is_in(rows["commit_id"], self._visible_commits))
        return visible.drop_columns(["commit_id"])

    def _load(self, encoder: StoredEncoder) -> Vectors:
        table = pa.Table.from_batches(
            self.scan(encoder),
            schema=self.vector_schema(encoder),
        )
        raw = vector_matrix(table["vector"])
        return Vectors(encoder, table.drop_columns(["vector"]), raw, self.comparable(encoder, raw))


def _vectors_name(encoder: StoredEncoder) -> tuple[str, str, str]:
    return ("vectors", encoder.level, encoder.encoder_id)
