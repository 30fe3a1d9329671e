"""An item, what is committed whole (a series, a slide, a table), and the rows it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tumorbase.models.encoders import EncoderSpec, Runtime, default_encoder_names
from tumorbase.models.patch_geometry import PatchGeometry


@dataclass(frozen=True)
class Item:
    """One thing to ingest.

    `key` is its identity in the store: the same key with the same content changes nothing, with
    other content its new commit takes the place of the old one. `files` are all files whose bytes
    make up the content; `path` is the one that messages name. `details` are what the kind's reader
    needs to know, and travel to another process.
    """

    kind: str  # a key of ingest.readers.READERS
    key: str
    path: str
    files: tuple[str, ...]
    patient_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A file, or a row of a table, that was left out, and why; the rest of its source goes on."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a source holds: items in the order of their commits, and what was refused."""

    items: tuple[Item, ...]
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class VectorRows:
    """Vectors of one encoder, staged in an Arrow IPC stream file.

    Its columns are those of `schema.VECTOR_ROWS[level]` (for nuclei also the shape features) and
    `vector`, a fixed-size list of float32.
    """

    spec: EncoderSpec
    path: str  # the staged Arrow stream file; the committer streams it into LanceDB and deletes it
    rows: int
    artefact: bytes = b""  # what an encoder fitted on this item learned; stored with the encoder


@dataclass
class ItemRows:
    """All that one item becomes: metadata by table of `schema.METADATA`, and vectors."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    vectors: list[VectorRows] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # read, resample, encode


@dataclass(frozen=True)
class Context:
    """What every reader is told, in every worker: settings of the run, nothing that changes.

    `known_patients` is None where any patient may appear (no patients.csv); otherwise a table that
    names another patient has that row rejected.
    """

    staging: Path
    encoders: tuple[str, ...] = field(  # all that the run uses, by name
        default_factory=lambda: tuple(default_encoder_names())
    )
    runtime: Runtime = field(default_factory=Runtime)  # of those that are networks
    mpp: float | None = None  # for slides and tiles that state none
    patches: PatchGeometry = field(default_factory=PatchGeometry)
    min_lesion_mm3: float = 10.0
    known_patients: frozenset[str] | None = None
    keep_identity: bool = False  # DICOM identifying attributes, kept only when asked for
    encoder_ids: tuple[str, ...] = ()  # of `encoders`: weights may not change under a run
