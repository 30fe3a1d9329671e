"""A text as a question, embedded by the network that embedded what is searched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np

from tumorbase.models.encoders import Runtime, TextEncoder, build_encoder, find_entry
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.query.stored_weights import require_same_weights
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, MissingWeights


def choose_text_encoder(encoders: Sequence[StoredEncoder], level: str) -> StoredEncoder:
    """The first of the encoders that embeds text.

    Raises:
        InvalidRequest: none does.
    """
    for encoder in encoders:
        entry = find_entry(encoder.name)
        # What is pooled of an encoder's vectors bears its name too, and is of another level.
        if entry and entry.embeds_text and entry.level == encoder.level:
            return encoder
    raise InvalidRequest(
        f"no {level} encoder in this store embeds text; text queries need an encoder that embeds "
        "images and text in one space"
    )


def embed_text(encoder: StoredEncoder, text: str, weights: Path | None) -> np.ndarray:
    """The text's vector, float32 (dim,), to compare with those of `encoder`.

    Args:
        encoder: chosen by `choose_text_encoder`.
        text: in the words that the network was trained with.
        weights: folder to look for its weights in; else $TUMORBASE_WEIGHTS, else the hub's cache.

    Raises:
        MissingWeights: those that made the stored vectors are not found.
    """
    try:
        vector: np.ndarray = _text_encoder(encoder, weights).encode_text([text])[0]
    except ValueError as error:
        raise MissingWeights(str(error)) from error
    return vector


@lru_cache(maxsize=2)
def _text_encoder(encoder: StoredEncoder, weights: Path | None) -> TextEncoder:
    built = cast(TextEncoder, build_encoder(encoder.name, Runtime(weights=weights)))
    found = PatchGeometry.of(encoder.preprocessing).bind(built.spec).encoder_id
    require_same_weights(encoder.name, found, encoder.encoder_id)
    return built
