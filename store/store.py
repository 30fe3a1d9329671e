"""A store directory: DuckDB and LanceDB behind one commit rule, owned by one process."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from tumorbase.store.check import UNREADABLE, CheckReport, Problem, find_problems
from tumorbase.store.commit import FURTHER_ENCODINGS, CommitContent, StoredModel
from tumorbase.store.commit_cache import CommitCache
from tumorbase.store.disk_errors import is_disk_error
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import (
    InvalidRequest,
    NoStore,
    NotFound,
    StoreBusy,
    StoreDamaged,
    StoreNotWritable,
    StoreVersion,
)
from tumorbase.store.lock import StoreLock
from tumorbase.store.metadata import create_tables
from tumorbase.store.schema import ID_COLUMN, METADATA
from tumorbase.store.vectors import VectorTables, Written
from tumorbase.store.view import View

FORMAT_VERSION = 1
FORMAT_FILE = "tumorbase.json"
METADATA_FILE = "metadata.duckdb"
VECTOR_FOLDER = "vectors"
STAGING_FOLDER = "staging"
CACHE_BYTES = 2 * 1024**3

_LAST_COMMIT = "SELECT coalesce(max(commit_id), 0) FROM main.commits"
_SUPERSEDE = """
UPDATE main.commits SET superseded_by = $commit
WHERE (item_key = $item_key OR starts_with(item_key, $further)) AND superseded_by IS NULL
"""
_INSERT_COMMIT = """
INSERT INTO main.commits VALUES
    ($commit, $item_key, $kind, $path, $fingerprint, $run_id, $committed_at, NULL, $table_rows)
"""
# What a withdrawn commit had replaced is visible again.
_UNSUPERSEDE = "UPDATE main.commits SET superseded_by = NULL WHERE superseded_by = $commit"
# Vectors that were added to the items of these commits make no sense without them.
_ADDED_TO = """
SELECT f.commit_id FROM main.commits f JOIN main.commits c
    ON starts_with(f.item_key, c.item_key || $mark)
WHERE list_contains($commits, c.commit_id) AND f.superseded_by IS NULL
"""
# It stays in the list, visible at no commit, so that its number is never given again.
_WITHDRAW = """
UPDATE main.commits SET superseded_by = commit_id, table_rows = '{}' WHERE commit_id = $commit
"""
_INSERT_VECTORS = """
INSERT INTO main.commit_vectors VALUES
    ($commit, $level, $encoder_id, $rows, $checksum, $mean, $squared_deviations)
"""
_INSERT_ENCODER = """
INSERT INTO main.encoders
SELECT $encoder_id, $name, $version, $level, $dim, $weights_sha256, $preprocessing,
    $is_standardised, $feature_names, $artefact
WHERE NOT EXISTS (FROM main.encoders WHERE encoder_id = $encoder_id AND level = $level)
"""
_FINGERPRINTS = "SELECT item_key, fingerprint FROM main.commits WHERE superseded_by IS NULL"
_ITEM_PATHS = "SELECT item_key, path FROM main.commits WHERE superseded_by IS NULL AND path <> ''"
_OWNERS = """
SELECT t.{column}, c.item_key FROM main.{table} t JOIN main.commits c USING (commit_id)
WHERE c.superseded_by IS NULL
"""

_Appended = tuple[StoredEncoder, int, Written]


@dataclass(frozen=True)
class Status:
    """What a store holds at its newest commit."""

    path: str
    format_version: int
    commit: int
    counts: dict[str, int]
    encoders: tuple[StoredEncoder, ...]
    snapshots: dict[str, int]
    quarantined: int
    models: tuple[str, ...]
    size_bytes: int


class Store:
    """An open store. Reading goes through views, writing through `commit`, one at a time."""

    def __init__(self, path: Path, lock: StoreLock | None) -> None:
        self.path = path
        self._lock = lock
        # Held through a run of ingest: what the run knows of the store must not change under it.
        self.ingesting = threading.Lock()
        self._writing = threading.Lock()
        self._cache = CommitCache(CACHE_BYTES)
        self._needs_recovery = True
        try:
            self._connection = duckdb.connect(
                str(path / METADATA_FILE), read_only=self.is_read_only
            )
        except duckdb.Error as error:
            if "lock on file" in str(error):  # an owner's, where this process may not write ours
                raise StoreBusy(f"store {path} is in use: {error}") from error
            raise StoreDamaged(f"store {path}: cannot read {METADATA_FILE}: {error}") from error
        self._tables = VectorTables(path / VECTOR_FOLDER)
        if not self.is_read_only:
            shutil.rmtree(path / STAGING_FOLDER, ignore_errors=True)
            # On a full disk, or beside a damaged table, one can read all the same; the next commit
            # tries again.
            with suppress(StoreNotWritable, StoreDamaged), self._disk_errors():
                self._recover()

    @classmethod
    def create(cls, path: str | Path) -> Store:
        """Make an empty store and open it.

        Raises:
            InvalidRequest: something else than an empty directory is already there.
            StoreNotWritable: the directory cannot be made.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InvalidRequest(f"{path} is not empty, and a new store needs a new directory")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        except OSError as error:
            raise StoreNotWritable(f"cannot make a store at {path}: {error.strerror}") from error
        try:
            _lay_out(draft)
            draft.rename(path)  # the store appears whole or not at all
        except (OSError, duckdb.Error) as error:
            raise StoreNotWritable(f"cannot make a store at {path}: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store, as its owner, or for reading alone where its disk cannot be written.

        Raises:
            NoStore: there is no store at `path`.
            StoreBusy: another process owns it.
            StoreVersion: a newer tumorbase wrote it.
            StoreDamaged: its files cannot be read.
        """
        path = Path(path)
        format_file = path / FORMAT_FILE
        if not format_file.is_file():
            raise NoStore(f"no store at {path}; `tumorbase ingest` makes one")
        try:
            version = json.loads(format_file.read_text())["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamaged(f"store {path}: {FORMAT_FILE} does not state a format") from error
        if version != FORMAT_VERSION:
            raise StoreVersion(
                f"store {path} is of format {version}, this tumorbase reads format "
                f"{FORMAT_VERSION}; upgrade tumorbase to open it"
            )
        try:
            lock = StoreLock(path)
        except OSError:  # a read-only disk: nobody can write, so nobody needs to own it
            lock = None
        try:
            return cls(path, lock)
        except BaseException:
            if lock:
                lock.release()
            raise

    @property
    def is_read_only(self) -> bool:
        """Whether the store's disk cannot be written."""
        return self._lock is None

    def close(self) -> None:
        """Close the databases and let the next process in."""
        self._connection.close()
        self._cache.clear()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def describe_owner(self, owner: str) -> None:
        """Tell processes that find the store in use who uses it, such as a server's address."""
        if self._lock:
            self._lock.describe(owner)

    def last_commit(self) -> int:
        """The newest commit, 0 in an empty store."""
        return self._scalar(_LAST_COMMIT)

    def view(self, commit: int | None = None, snapshot: str | None = None) -> View:
        """The store as of a commit or a snapshot, else as of now.

        Raises:
            NotFound: there is no such commit or snapshot.
        """
        newest = self.last_commit()
        if snapshot is not None:
            if snapshot not in self.snapshots():
                raise NotFound("snapshot", snapshot)
            commit = self.snapshots()[snapshot]
        if commit is not None and not 0 <= commit <= newest:
            raise NotFound("commit", str(commit))
        at = newest if commit is None else commit
        return View(self._connection.cursor(), self._tables, at, self._cache)

    def fingerprints(self) -> dict[str, str]:
        """Item key to fingerprint of every item that is there now."""
        return dict(self._connection.cursor().execute(_FINGERPRINTS).fetchall())

    def item_paths(self) -> dict[str, str]:
        """Item key to path of every item that is there now, but those under a pseudonym."""
        return dict(self._connection.cursor().execute(_ITEM_PATHS).fetchall())

    def owners(self, table: str) -> dict[str, str]:
        """Id to item key of every row of a metadata table that is there now."""
        query = _OWNERS.format(table=table, column=ID_COLUMN[table])
        return dict(self._connection.cursor().execute(query).fetchall())

    def commit(self, content: CommitContent) -> int:
        """Write one item whole; the commit's number. Raises as `commit_all`."""
        return self.commit_all([content])[0]

    def commit_all(self, contents: Sequence[CommitContent]) -> list[int]:
        """Write items, each its own commit, in one go: all of them, or after a failure none.

        Vectors go first, then one transaction makes the commits exist; sharing both spares small
        items their cost. Returns the commits' numbers.

        Raises:
            StoreNotWritable: the disk is full or read-only; nothing of the items is visible.
        """
        with self._writing:
            with self._disk_errors():
                self._recover_if_needed()
            numbered = list(enumerate(contents, self.last_commit() + 1))
            self._needs_recovery = True  # vectors lie orphaned until the transaction is through
            with self._disk_errors():
                self._write_metadata(numbered, self._append_vectors(numbered))
            self._needs_recovery = False
            return [commit_id for commit_id, _ in numbered]

    def save_model(self, name: str, kind: str, content: bytes, details: Mapping[str, Any]) -> int:
        """Keep a trained model under a name; an older one of the name stays readable by commit."""
        fingerprint = hashlib.sha256(content).hexdigest()
        model = StoredModel(name, kind, content, json.dumps(details))
        return self.commit(
            CommitContent(f"model:{name}", "model", name, fingerprint, run_id="", model=model)
        )

    def snapshot(self, name: str) -> int:
        """Give the newest commit a name.

        Raises:
            InvalidRequest: the name is empty or already taken.
        """
        if not name.strip():
            raise InvalidRequest("a snapshot needs a name")
        self._require_writable()
        with self._writing:  # of two that ask for one name at once, one is refused
            if name in self.snapshots():
                raise InvalidRequest(f"snapshot {name!r} exists; snapshots do not change")
            commit = self.last_commit()
            with self._transaction() as cursor:
                cursor.execute(
                    "INSERT INTO main.snapshots VALUES ($name, $commit, $now)",
                    {"name": name, "commit": commit, "now": _now()},
                )
        return commit

    def snapshots(self) -> dict[str, int]:
        """Name to commit of every snapshot, in the order they were made."""
        query = "SELECT name, commit_id FROM main.snapshots ORDER BY created_at, name"
        return dict(self._connection.cursor().execute(query).fetchall())

    def record_run(
        self,
        run_id: str,
        started_at: datetime,
        summary: Mapping[str, Any],
        quarantined: list[tuple[str, str]],
    ) -> None:
        """Write down what a run of ingest did, and what it refused (path, reason).

        Raises:
            StoreNotWritable: the disk is full or read-only.
        """
        now = _now()
        run = {"run_id": run_id, "started_at": started_at, "now": now}
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO main.runs VALUES ($run_id, $started_at, $now, $summary)",
                {**run, "summary": json.dumps(summary)},
            )
            if quarantined:
                cursor.executemany(
                    "INSERT INTO main.quarantine VALUES ($1, $2, $3, $4)",
                    [[run_id, path, reason, now] for path, reason in quarantined],
                )

    def compact(self) -> None:
        """Tidy up after many small commits; what views see stays the same."""
        with self._writing, self._disk_errors():
            self._tables.compact()

    def staging(self, run_id: str = "") -> Path:
        """The folder, of a run if named, for files on their way into a commit.

        It is emptied when the store is opened.

        Raises:
            StoreNotWritable: the disk is full or read-only.
        """
        self._require_writable()
        folder = self.path / STAGING_FOLDER / run_id
        with self._disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def check(self, repair: bool = False) -> CheckReport:
        """Find what does not agree, and if asked, repair it.

        Repair deletes orphaned vectors and withdraws damaged items, so that the next ingest of
        their source brings them anew; nothing else is lost.
        """
        with self._writing:
            problems = find_problems(self._connection.cursor(), self._tables)
            if not repair or not problems:
                return CheckReport(tuple(problems))
            self._require_writable()
            self._withdraw(problems)
            left = find_problems(self._connection.cursor(), self._tables)
            return CheckReport(tuple(problems), repaired=len(problems) - len(left))

    def status(self) -> Status:
        """What the store holds."""
        view = self.view()
        cursor = self._connection.cursor()
        models = cursor.execute("SELECT DISTINCT name FROM main.models ORDER BY name").fetchall()
        return Status(
            path=str(self.path),
            format_version=FORMAT_VERSION,
            commit=view.commit_id,
            counts=self.counts(view),
            encoders=tuple(view.encoders()),
            snapshots=self.snapshots(),
            quarantined=self._scalar("SELECT count(*) FROM main.quarantine"),
            models=tuple(name for (name,) in models),
            size_bytes=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        )

    def counts(self, view: View) -> dict[str, int]:
        """How many of each thing there are: patients, studies, lesions, patches and so on."""
        tables = (
            "patient",
            "study",
            "series",
            "lesion",
            "slide",
            "profile",
            "outcome",
            "diagnosis",
        )
        counted = {
            name: view.sql(f"SELECT count(*) n FROM {name}")["n"][0].as_py() for name in tables
        }
        return counted | {level: view.part_count(level) for level in ("patch", "nucleus")}

    def _withdraw(self, problems: list[Problem]) -> None:
        """Undo damaged commits and delete what belongs to none."""
        damaged = sorted({problem.commit_id for problem in problems if problem.commit_id})
        with self._transaction() as cursor:
            further = cursor.execute(_ADDED_TO, {"commits": damaged, "mark": FURTHER_ENCODINGS})
            damaged = sorted({*damaged, *(commit for (commit,) in further.fetchall())})
            for commit in damaged:
                for name in (*METADATA, "models", "commit_vectors"):
                    cursor.execute(
                        f"DELETE FROM main.{name} WHERE commit_id = $commit", {"commit": commit}
                    )
                cursor.execute(_UNSUPERSEDE, {"commit": commit})
                cursor.execute(_WITHDRAW, {"commit": commit})
        unreadable = {problem.subject for problem in problems if problem.kind == UNREADABLE}
        with self._disk_errors():
            for subject in unreadable:  # all of whose commits are withdrawn
                self._tables.drop(*subject.split("/", 1))
            for level, encoder_id in self._tables.names():
                for commit in damaged:
                    self._tables.delete_commit(level, encoder_id, commit)
        self._cache.clear()

    def _recover_if_needed(self) -> None:
        self._require_writable()
        if self._needs_recovery:
            self._recover()

    def _recover(self) -> None:
        """Delete what a process left that died, or failed, between vectors and transaction."""
        self._tables.delete_after(self.last_commit())
        self._needs_recovery = False

    def _require_writable(self) -> None:
        if self.is_read_only:
            raise StoreNotWritable(
                f"store {self.path} lies on a disk that is full or cannot be written"
            )

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor whose statements all come into force at the end, or none."""
        cursor = self._connection.cursor()
        with self._disk_errors():
            cursor.begin()
            try:
                yield cursor
                cursor.commit()
            except BaseException:
                with suppress(duckdb.TransactionException):  # ended already, if the commit failed
                    cursor.rollback()
                raise

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Raises StoreNotWritable for what the databases raise on a full or read-only disk."""
        try:
            yield
        except (duckdb.Error, OSError, RuntimeError) as error:
            if not is_disk_error(error):
                raise
            raise StoreNotWritable(f"cannot write to store {self.path}: {error}") from error

    def _append_vectors(self, numbered: list[tuple[int, CommitContent]]) -> list[_Appended]:
        """Stream the staged vectors in, one write for each vector table."""
        by_encoder: dict[StoredEncoder, list[tuple[int, Path]]] = {}
        for commit_id, content in numbered:
            for staged in content.vectors:
                by_encoder.setdefault(staged.encoder, []).append((commit_id, staged.file))
        return [
            (encoder, commit_id, written)
            for encoder, files in by_encoder.items()
            for commit_id, written in self._tables.append(encoder.level, encoder.encoder_id, files)
        ]

    def _write_metadata(
        self, numbered: list[tuple[int, CommitContent]], appended: list[_Appended]
    ) -> None:
        with self._transaction() as cursor:
            by_table: dict[str, list[pa.Table]] = {}
            for commit_id, content in numbered:
                _insert_commit(cursor, commit_id, content)
                for name, table in content.tables.items():
                    by_table.setdefault(name, []).append(_with_commit(name, table, commit_id))
                if content.model:
                    _insert_model(cursor, commit_id, content.model)
            for name, tables in by_table.items():
                _insert_rows(cursor, name, pa.concat_tables(tables))
            for encoder, commit_id, written in appended:
                _insert_vectors(cursor, commit_id, encoder, written)

    def _scalar(self, query: str) -> Any:
        row = self._connection.cursor().execute(query).fetchone()
        assert row is not None
        return row[0]


def _lay_out(folder: Path) -> None:
    """The files of an empty store."""
    folder.chmod(0o755)
    (folder / VECTOR_FOLDER).mkdir()
    with duckdb.connect(str(folder / METADATA_FILE)) as connection:
        connection.execute(create_tables())
    (folder / FORMAT_FILE).write_text(json.dumps({"format_version": FORMAT_VERSION}) + "\n")


def _insert_commit(
    cursor: duckdb.DuckDBPyConnection, commit_id: int, content: CommitContent
) -> None:
    rows = {name: table.num_rows for name, table in content.tables.items()}
    for item_key in (content.item_key, *content.outdated):
        further = item_key + FURTHER_ENCODINGS
        cursor.execute(_SUPERSEDE, {"commit": commit_id, "item_key": item_key, "further": further})
    cursor.execute(
        _INSERT_COMMIT,
        {
            "commit": commit_id,
            "item_key": content.item_key,
            "kind": content.kind,
            "path": content.path,
            "fingerprint": content.fingerprint,
            "run_id": content.run_id,
            "committed_at": _now(),
            "table_rows": json.dumps(rows),
        },
    )


def _with_commit(name: str, table: pa.Table, commit_id: int) -> pa.Table:
    schema = METADATA[name]  # also refuses a table that is none of ours
    rows = table.select(schema.names).cast(schema)
    commits = pa.repeat(pa.scalar(commit_id, pa.int64()), len(rows))
    return rows.add_column(0, "commit_id", commits)


def _insert_rows(cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    cursor.register("new_rows", rows)
    cursor.execute(f"INSERT INTO main.{name} SELECT {', '.join(rows.column_names)} FROM new_rows")
    cursor.unregister("new_rows")


def _insert_vectors(
    cursor: duckdb.DuckDBPyConnection, commit_id: int, encoder: StoredEncoder, rows: Written
) -> None:
    cursor.execute(
        _INSERT_ENCODER, {**asdict(encoder), "feature_names": list(encoder.feature_names)}
    )
    cursor.execute(
        _INSERT_VECTORS,
        {
            "commit": commit_id,
            "level": rows.level,
            "encoder_id": rows.encoder_id,
            "rows": rows.rows,
            "checksum": rows.checksum,
            "mean": rows.statistics.mean.tolist(),
            "squared_deviations": rows.statistics.squared_deviations.tolist(),
        },
    )


def _insert_model(cursor: duckdb.DuckDBPyConnection, commit_id: int, model: StoredModel) -> None:
    cursor.execute(
        "INSERT INTO main.models VALUES ($commit, $name, $kind, $content, $details)",
        {"commit": commit_id, **asdict(model)},
    )


def _now() -> datetime:
    """UTC without a zone, as all times of the store are."""
    return datetime.now(UTC).replace(tzinfo=None)
