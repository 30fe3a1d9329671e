"""An image's question: which of the store's encoders answers it, and the vector that asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tumorbase.ingest.chosen_encoders import runtime_for
from tumorbase.ingest.image_query import ImageQuestion, encode_image
from tumorbase.models.encoders import POOLED_SUFFIX, encoder_names, is_known
from tumorbase.query.answers import SimilarQuestion
from tumorbase.query.similar import preference
from tumorbase.query.stored_weights import require_same_weights
from tumorbase.server.client import Client
from tumorbase.server.local import LocalClient
from tumorbase.server.overview import EncoderOverview
from tumorbase.store.errors import InvalidRequest, NotFound


def by_image(
    client: Client | LocalClient,
    question: SimilarQuestion,
    asked: ImageQuestion,
    device: str,
    weights: Path | None,
) -> SimilarQuestion:
    """The question with the vector of an image, encoded as the store's vectors were.

    Args:
        client: of the store.
        question: to which its `encoder`, a name or id, answers, else the level's preferred one.
        asked: the image.
        device: of a network.
        weights: folder with those of a network.

    Raises:
        NotFound: the store has no such encoder.
        InvalidRequest: other software made these vectors.
        MissingWeights: those that made the store's vectors are not found.
        BadInput: as `encode_image`.
    """
    stored = _stored_encoder(client, question)
    own = stored.name.removesuffix(POOLED_SUFFIX)
    runtime = runtime_for([own], device, str(weights) if weights else None)
    encoded = encode_image(asked, stored.name, stored.preprocessing, runtime)
    require_same_weights(stored.name, encoded.encoder_id, stored.encoder_id)
    return replace(question, vector=tuple(encoded.vector.tolist()), encoder=encoded.encoder_id)


def _stored_encoder(client: Client | LocalClient, question: SimilarQuestion) -> EncoderOverview:
    of_level = [e for e in client.status().encoders if e.level == question.level]
    named = [e for e in of_level if question.encoder in ("", e.name, e.encoder_id)]
    if not named:
        raise NotFound(f"{question.level} encoder", question.encoder or "any")
    here = [e for e in named if is_known(e.name.removesuffix(POOLED_SUFFIX))]
    if not here:
        known = ", ".join(encoder_names())
        raise InvalidRequest(f"an image is encoded by one of {known}, got {named[0].name!r}")
    return min(here, key=lambda e: (preference(e.name), e.name, -e.vectors))
