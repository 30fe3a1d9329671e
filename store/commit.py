"""What one commit brings: an item's identity, its metadata rows and its staged vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tumorbase.store.encoder_row import StoredEncoder

# In the key of a commit that adds vectors to an item: after the item's key. It goes when the item's
# own commit is superseded.
FURTHER_ENCODINGS = "#encoders="


@dataclass(frozen=True)
class StagedVectors:
    """An Arrow IPC stream file with the id columns of the level and `vector`."""

    encoder: StoredEncoder
    file: Path


@dataclass(frozen=True)
class StoredModel:
    """A trained model: what reads it (`kind`), its bytes, and a description in JSON."""

    name: str
    kind: str
    content: bytes
    details: str


@dataclass(frozen=True)
class CommitContent:
    """One item. A visible commit of the same `item_key` is superseded, with what was added to it,
    and so are those of `outdated`.

    `fingerprint` covers the content and all that the reader was told: the same again is no news.
    """

    item_key: str
    kind: str
    path: str
    fingerprint: str
    run_id: str
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    vectors: tuple[StagedVectors, ...] = ()
    model: StoredModel | None = None
    outdated: tuple[str, ...] = ()  # keys of items that were made of what this one was before
