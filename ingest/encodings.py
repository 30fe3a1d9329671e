"""With which encoders an item is in the store: what a run that names others still has to do.

The fingerprint of a commit is the hash of the item's content, then the ids of the encoders that
were at work, found anything or not. Encoders that a later run adds have a commit of their own
beside the item's, without rows but their vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tumorbase.models.encoders import encoder_level, is_network
from tumorbase.store.commit import FURTHER_ENCODINGS

# Kind of an item -> levels of the encoders that its reader asks for; tables of others have none.
ENCODED_LEVELS: dict[str, tuple[str, ...]] = {
    "ct_nifti": ("lesion", "body_part"),
    "dicom_series": ("lesion", "body_part"),
    "key_slice": ("lesion", "body_part"),
    "lesions_table": ("lesion",),
    "deeplesion_table": ("lesion",),
    "slide": ("patch", "region", "nucleus"),
    "nuclei": ("nucleus",),
    "genomics_table": ("profile",),
    "tcga_table": ("profile",),
    "case": ("series",),
}


def is_given_to(encoder: str, kind: str) -> bool:
    """Whether the reader of items of this kind gives them to the encoder of this name."""
    if kind == "nuclei" and is_network(encoder):
        return False  # contours have no pixels in which a network could look for nuclei
    return encoder_level(encoder) in ENCODED_LEVELS.get(kind, ())


@dataclass(frozen=True)
class Encoded:
    """An item's content, and the ids of the encoders that saw it."""

    content: str
    encoder_ids: frozenset[str]

    @property
    def fingerprint(self) -> str:
        """As it is written into a commit."""
        return " ".join([self.content, *sorted(self.encoder_ids)])


def further_key(item_key: str, encoder_ids: Iterable[str]) -> str:
    """The key of the commit that adds these encoders' vectors to an item."""
    return f"{item_key}{FURTHER_ENCODINGS}{'+'.join(sorted(encoder_ids))}"


def encoded_items(fingerprints: Mapping[str, str]) -> dict[str, Encoded]:
    """Item key to what is there of it, from the fingerprints of all visible commits by key.

    What was added to an item counts only while the item is there with the same content.
    """
    split = {key: fingerprint.split(" ") for key, fingerprint in fingerprints.items()}
    items = {
        key: Encoded(content, frozenset(encoder_ids))
        for key, (content, *encoder_ids) in split.items()
        if FURTHER_ENCODINGS not in key
    }
    for key, (content, *encoder_ids) in split.items():
        item_key, is_further, _ = key.partition(FURTHER_ENCODINGS)
        if is_further and item_key in items and items[item_key].content == content:
            seen = items[item_key].encoder_ids | frozenset(encoder_ids)
            items[item_key] = Encoded(content, seen)
    return items
