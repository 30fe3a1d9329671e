"""Keyed pseudonyms: the same id and key give the same pseudonym, and no key, no way back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.item import ItemRows, VectorRows
from tumorbase.store.errors import InvalidRequest

MIN_KEY_BYTES = 16
_ID_COLUMNS = ("patient_id", "study_id", "series_id", "lesion_id", "slide_id", "profile_id")
# Ids of a slide's many parts begin with the slide's id, which alone tells who the patient is.
_PART_COLUMNS = ("patch_id", "region_id", "nucleus_id")


def read_key(file: Path) -> bytes:
    """The key in a file, without white space at its ends.

    Raises:
        InvalidRequest: the file is not there or its key is shorter than 16 bytes.
    """
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise InvalidRequest(f"pseudonym key {file}: {error.strerror}") from error
    if len(key) < MIN_KEY_BYTES:
        raise InvalidRequest(
            f"pseudonym key {file}: expected at least {MIN_KEY_BYTES} bytes, got {len(key)}"
        )
    return key


def create_key(file: Path) -> bytes:
    """A new random key, written to a file that only its owner can read."""
    key = base64.b32encode(os.urandom(32)).rstrip(b"=")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(key + b"\n")
    return key


def pseudonym(key: bytes, identifier: str) -> str:
    """16 characters of HMAC-SHA-256 (RFC 2104) in base 32: 80 bits, too many to collide."""
    digest = hmac.digest(key, identifier.encode(), hashlib.sha256)
    return base64.b32encode(digest)[:16].decode().lower()


def pseudonymise(rows: ItemRows, key: bytes) -> ItemRows:
    """Rows with a pseudonym for every id, and without paths, which may spell a name."""
    return replace(
        rows,
        tables={name: _pseudonymise_table(table, key) for name, table in rows.tables.items()},
        vectors=[_pseudonymise_vectors(vectors, key) for vectors in rows.vectors],
    )


def _pseudonymise_table(table: pa.Table, key: bytes) -> pa.Table:
    batches = [_pseudonymise_batch(batch, key) for batch in table.to_batches()]
    return pa.Table.from_batches(batches, schema=table.schema)


def _pseudonymise_vectors(vectors: VectorRows, key: bytes) -> VectorRows:
    path = f"{vectors.path}.pseudonyms"
    with (
        pa.OSFile(vectors.path) as source,
        pa.ipc.open_stream(source) as reader,
        pa.ipc.new_stream(path, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(_pseudonymise_batch(batch, key))
    Path(vectors.path).unlink()
    return replace(vectors, path=path)


def _pseudonymise_batch(batch: pa.RecordBatch, key: bytes) -> pa.RecordBatch:
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name in _PART_COLUMNS:
        if name in columns:
            columns[name] = _replace_prefix(columns[name], columns["slide_id"], key)
    for name in _ID_COLUMNS:
        if name in columns:
            columns[name] = _replace_ids(columns[name], key)
    if "case_id" in columns:
        parts = (columns["patient_id"], columns["study_id"])
        columns["case_id"] = pc.binary_join_element_wise(*parts, "/")
    if "path" in columns:
        columns["path"] = pa.nulls(len(batch), columns["path"].type)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=batch.schema)


def _replace_ids(ids: pa.Array, key: bytes) -> pa.Array:
    coded = ids.dictionary_encode()
    names = [pseudonym(key, identifier) for identifier in coded.dictionary.to_pylist()]
    dictionary = pa.array(names, pa.string())
    return pa.DictionaryArray.from_arrays(coded.indices, dictionary).cast(pa.string())


def _replace_prefix(ids: pa.Array, slides: pa.Array, key: bytes) -> pa.Array:
    rest = pc.utf8_slice_codeunits(ids, 0)
    for slide in pc.unique(slides).to_pylist():
        rest = pc.if_else(pc.equal(slides, slide), pc.utf8_slice_codeunits(ids, len(slide)), rest)
    return pc.binary_join_element_wise(_replace_ids(slides, key), rest, "")
