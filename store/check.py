"""Whether metadata and vectors agree, and how to make them agree again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.store.checksum import checksum_rows
from tumorbase.store.errors import StoreDamaged
from tumorbase.store.schema import ID_COLUMN, METADATA
from tumorbase.store.vectors import VectorTables, vector_matrix

_COMMIT_VECTORS = """
SELECT commit_id, level, encoder_id, vector_rows, checksum FROM main.commit_vectors
ORDER BY level, encoder_id, commit_id
"""
_CURRENT = "SELECT commit_id FROM main.commits WHERE superseded_by IS NULL"
_COMMITS = "SELECT commit_id, item_key, table_rows FROM main.commits ORDER BY commit_id"
_BAD_SUPERSEDED = """
SELECT commit_id FROM main.commits a WHERE superseded_by IS NOT NULL
  AND NOT EXISTS (FROM main.commits b WHERE b.commit_id = a.superseded_by)
"""


UNREADABLE = "unreadable-vectors"


@dataclass(frozen=True)
class Problem:
    """One disagreement. `commit_id` is the commit it damages, 0 if it belongs to none."""

    kind: str
    subject: str
    detail: str
    commit_id: int = 0


@dataclass(frozen=True)
class CheckReport:
    """All problems found, and how many of them were repaired."""

    problems: tuple[Problem, ...]
    repaired: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return self.repaired == len(self.problems)


def find_problems(connection: duckdb.DuckDBPyConnection, tables: VectorTables) -> list[Problem]:
    """Every disagreement between the commits, the metadata rows and the vectors.

    Kinds: `orphan-vectors` (of no commit), `missing-vectors` (table or rows gone), `vector-count`,
    `vector-checksum`, `unreadable-vectors` (files of the table gone or cut), `metadata-count`,
    `duplicate-vector`, `dangling-commit`.
    """
    problems = _check_metadata(connection)
    recorded: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for commit, level, encoder, rows, checksum in connection.execute(_COMMIT_VECTORS).fetchall():
        recorded.setdefault((level, encoder), []).append((commit, rows, checksum))
    current = connection.execute(_CURRENT).to_arrow_table()["commit_id"]
    existing = set(tables.names())
    for name in sorted(existing | set(recorded)):
        expected = recorded.get(name, [])
        if name in existing:
            problems += _check_table(tables, *name, expected, current)
        else:
            problems += [_missing(name, commit, rows) for commit, rows, _ in expected if rows]
    return problems


def _check_metadata(connection: duckdb.DuckDBPyConnection) -> list[Problem]:
    problems = []
    counted: dict[tuple[int, str], int] = {}
    for name in METADATA:
        query = f"SELECT commit_id, count(*) FROM main.{name} GROUP BY commit_id"
        for commit, rows in connection.execute(query).fetchall():
            counted[commit, name] = rows
    for commit, key, table_rows in connection.execute(_COMMITS).fetchall():
        for name, expected in json.loads(table_rows).items():
            found = counted.pop((commit, name), 0)
            if found != expected:
                detail = f"expected {expected} rows in {name}, found {found}"
                problems.append(Problem("metadata-count", key, detail, commit))
    for (commit, name), rows in counted.items():
        detail = f"{rows} rows in {name} of a commit that does not list them"
        problems.append(Problem("metadata-count", f"commit {commit}", detail, commit))
    for (commit,) in connection.execute(_BAD_SUPERSEDED).fetchall():
        detail = "superseded by a commit that does not exist"
        problems.append(Problem("dangling-commit", f"commit {commit}", detail, commit))
    return problems


def _check_table(
    tables: VectorTables,
    level: str,
    encoder_id: str,
    expected: list[tuple[int, int, int]],
    current: pa.ChunkedArray,
) -> list[Problem]:
    try:
        return _check_vectors(tables, level, encoder_id, expected, current)
    except StoreDamaged as error:
        subject = f"{level}/{encoder_id}"
        commits = [commit for commit, _, _ in expected] or [0]
        detail = f"its files cannot be read: {error.__cause__}"
        return [Problem(UNREADABLE, subject, detail, commit) for commit in commits]


def _check_vectors(
    tables: VectorTables,
    level: str,
    encoder_id: str,
    expected: list[tuple[int, int, int]],
    current: pa.ChunkedArray,
) -> list[Problem]:
    counts, checksums, ids = _scan(tables, level, encoder_id, current)
    subject = f"{level}/{encoder_id}"
    problems = []
    for commit, rows, checksum in expected:
        found = counts.pop(commit, 0)
        if found == 0 and rows:
            problems.append(_missing((level, encoder_id), commit, rows))
        elif found != rows:
            detail = f"commit {commit}: expected {rows} vectors, found {found}"
            problems.append(Problem("vector-count", subject, detail, commit))
        elif checksums.get(commit, 0) != checksum:
            detail = f"commit {commit}: its vectors are not those that were written"
            problems.append(Problem("vector-checksum", subject, detail, commit))
    for commit, rows in counts.items():
        detail = f"{rows} vectors of commit {commit}, which does not exist"
        problems.append(Problem("orphan-vectors", subject, detail, commit))
    repeated = _repeated(ids)
    if repeated:
        detail = f"{len(repeated)} ids occur more than once, such as {repeated[0]!r}"
        problems.append(Problem("duplicate-vector", subject, detail))
    return problems


def _scan(
    tables: VectorTables, level: str, encoder_id: str, current: pa.ChunkedArray
) -> tuple[dict[int, int], dict[int, int], list[pa.Array]]:
    """Rows and checksum of each commit, and the ids that are visible now."""
    counts: dict[int, int] = {}
    checksums: dict[int, int] = {}
    ids = []
    key = ID_COLUMN[level]
    for batch in tables.scan(level, encoder_id, np.iinfo(np.int64).max, [key, "vector"]):
        ids.append(batch.filter(pc.is_in(batch["commit_id"], current)).column(key))
        for commit in pc.unique(batch["commit_id"]).to_pylist():
            rows = batch.filter(pc.equal(batch["commit_id"], commit))
            added = checksum_rows(rows.column(key), vector_matrix(rows.column("vector")))
            counts[commit] = counts.get(commit, 0) + len(rows)
            checksums[commit] = (checksums.get(commit, 0) + added) % 2**63
    return counts, checksums, ids


def _repeated(ids: list[pa.Array]) -> list[Any]:
    if not ids:
        return []
    counted = pc.value_counts(pa.chunked_array(ids))
    return counted.filter(pc.greater(counted.field("counts"), 1)).field("values").to_pylist()


def _missing(name: tuple[str, str], commit: int, rows: int) -> Problem:
    detail = f"commit {commit}: {rows} vectors are gone"
    return Problem("missing-vectors", "/".join(name), detail, commit)
