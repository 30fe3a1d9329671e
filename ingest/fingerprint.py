"""Hashes of content: whether an item, read as it would be read now, is already in the store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.store.errors import BadInput

_OF_SCANS = ("min_lesion_mm3", "keep_identity")
# Kind of an item -> what else its reader is told that changes its rows.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "ct_nifti": _OF_SCANS,
    "dicom_series": _OF_SCANS,
    "slide": ("mpp",),
    "nuclei": ("mpp",),
}


def fingerprint_item(item: Item, context: Context, pseudonym_key: bytes | None) -> str:
    """SHA-256 over the bytes of the item's files and every setting that changes what they become,
    but for the encoders (`encodings`).

    Raises:
        BadInput: a file cannot be read.
    """
    digest = hashlib.sha256()
    settings = [
        item.kind,
        item.key,
        item.patient_id,
        dict(item.details),
        [getattr(context, name) for name in _SETTINGS.get(item.kind, ())],
        hashlib.sha256(pseudonym_key).hexdigest() if pseudonym_key else None,
    ]
    told = json.dumps(settings, sort_keys=True, default=str)
    for number, file in enumerate(item.files):  # a folder that was moved holds the same items
        told = told.replace(json.dumps(file), f'"file {number}"')
    digest.update(told.encode())
    for file in item.files:
        try:
            with Path(file).open("rb") as source:
                digest.update(hashlib.file_digest(source, "sha256").digest())
        except OSError as error:
            raise BadInput(file, f"cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def fingerprint_rows(item_fingerprint: str, rows: ItemRows) -> str:
    """The item's fingerprint; where rows were refused, one that also covers what came of the item.

    A table with bad rows is read anew each time, since another file may have made them good; if
    nothing came of that, this says so.
    """
    if not rows.rejected:
        return item_fingerprint
    digest = hashlib.sha256(item_fingerprint.encode())
    for name in sorted(rows.tables):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.tables[name].schema) as writer:
            writer.write_table(rows.tables[name].combine_chunks())
        digest.update(sink.getvalue())
    return digest.hexdigest()
