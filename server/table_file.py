"""Record batches written to a file, as they come: Parquet, Arrow IPC or CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from tumorbase.store.errors import InvalidRequest

FORMATS = ("parquet", "arrow", "csv")

_SUFFIXES = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
}


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


def format_of(file: Path) -> str:
    """The format that the file's suffix names, else parquet."""
    return _SUFFIXES.get(file.suffix.lower(), "parquet")


def write_table_file(reader: pa.RecordBatchReader, file: Path, file_format: str) -> int:
    """The number of rows written. The file appears whole, under its name, or not at all.

    CSV has lists, such as embeddings, as numbers separated by blanks.

    Raises:
        InvalidRequest: the folder cannot be written.
    """
    try:
        descriptor, draft = mkstemp(prefix=f".{file.name}.", dir=file.parent)
        os.close(descriptor)
    except OSError as error:
        raise InvalidRequest(f"cannot write {file}: {error.strerror}") from error
    try:
        rows = _write(reader, Path(draft), file_format)
        os.chmod(draft, 0o644)
        os.replace(draft, file)
    except BaseException:
        os.unlink(draft)
        raise
    return rows


def _write(reader: pa.RecordBatchReader, draft: Path, file_format: str) -> int:
    rows = 0
    flat = file_format == "csv"
    schema = _flat_schema(reader.schema) if flat else reader.schema
    with _writer(draft, schema, file_format) as writer:
        for batch in reader:
            writer.write_batch(_flatten(batch, schema) if flat else batch)
            rows += batch.num_rows
    return rows


@contextmanager
def _writer(draft: Path, schema: pa.Schema, file_format: str) -> Iterator[_Writer]:
    opened = {
        "parquet": parquet.ParquetWriter,
        "arrow": pa.ipc.new_file,
        "csv": csv.CSVWriter,
    }[file_format](str(draft), schema)
    try:
        yield opened
    finally:
        opened.close()


def _flat_schema(schema: pa.Schema) -> pa.Schema:
    fields = [pa.field(f.name, pa.string()) if _is_list(f.type) else f for f in schema]
    return pa.schema(fields)


def _flatten(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [_joined(column) if _is_list(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _joined(column: pa.Array) -> pa.Array:
    item = column.type.value_type
    as_lists = column.cast(pa.list_(item))
    texts = pa.ListArray.from_arrays(
        as_lists.offsets, as_lists.values.cast(pa.string()), mask=as_lists.is_null()
    )
    return pc.binary_join(texts, " ")


def _is_list(data_type: pa.DataType) -> bool:
    return pa.types.is_list(data_type) or pa.types.is_fixed_size_list(data_type)
