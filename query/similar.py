"""The nearest neighbours of a lesion, patch, nucleus, slide, profile or patient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.query.answers import Hit, Receipt, Similar, SimilarQuestion
from tumorbase.query.level_columns import describe_rows
from tumorbase.query.patient_similarity import similar_patients
from tumorbase.query.predicate import matching_rows
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, NotFound
from tumorbase.store.schema import ID_COLUMN
from tumorbase.store.vectors import vector_matrix
from tumorbase.store.view import View

MAX_LIMIT = 1000
# Larger sets are read from disk in batches at every question instead of kept in memory.
IN_MEMORY_BYTES = 512 * 1024**2
# Which of several encoders answers when none is named: the one that saw most of the pixels.
PREFERENCE = ("radiomics", "radiomics-2d", "stain-texture", "nucleus-shape", "measurement")


def similar(view: View, question: SimilarQuestion) -> Similar:
    """The `limit` nearest to the query by cosine distance, nearest first, found exhaustively.

    The query itself is never among them, and others of its patient only if asked for. Equal
    distances are ordered by id.

    Raises:
        InvalidRequest: the question is not one question, or its limit, vector or filter is wrong.
        NotFound: the id, or the encoder, is not in the store.
    """
    _check(question)
    if question.level == "patient":
        return similar_patients(view, question)
    encoder, query, patient_id = _query_vector(view, question)
    best: list[pa.Table] = []
    searched = 0
    for rows, matrix in _candidates(view, encoder):
        allowed = _allowed(view, question, rows, patient_id)
        searched += int(allowed.sum())
        closest = _closest(rows, matrix @ query, allowed, question.limit)
        best = [_nearest(pa.concat_tables([*best, closest]), encoder.level, question.limit)]
    described = describe_rows(view, question.level, best[0]) if best else None
    return Similar(
        level=question.level,
        encoder=encoder.encoder_id,
        is_exact=True,
        hits=tuple(_hits(described, question.level)) if described is not None else (),
        receipt=Receipt(
            commit=view.commit_id,
            encoder=encoder.encoder_id,
            weights_sha256=encoder.weights_sha256,
            where=question.where,
            rows_searched=searched,
        ),
    )


def choose_encoder(view: View, level: str, name: str, identifier: str = "") -> StoredEncoder:
    """The named encoder of a level, else its preferred one; given an id, one that encoded it.

    Raises:
        NotFound: there is no such encoder, or none has the id.
    """
    encoders = view.encoders(level)
    if not encoders:
        raise NotFound(f"{level} embedding", name or "any")
    if name:
        encoders = [view.encoder(level, name)]
    encoders = sorted(encoders, key=lambda e: (_preference(e), e.encoder_id))
    if not identifier:
        return encoders[0]
    for encoder in encoders:
        if view.find(encoder, identifier).num_rows:
            return encoder
    raise NotFound(level, identifier)


def _preference(encoder: StoredEncoder) -> int:
    # A published network was asked for by name when it was ingested, so it goes first.
    return PREFERENCE.index(encoder.name) if encoder.name in PREFERENCE else -1


def _check(question: SimilarQuestion) -> None:
    if question.level not in ID_COLUMN:
        known = ", ".join(ID_COLUMN)
        raise InvalidRequest(f"level must be one of {known}, got {question.level!r}")
    if not 1 <= question.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit must be in [1, {MAX_LIMIT}], got {question.limit}")
    given = sum((bool(question.id), bool(question.vector), bool(question.text)))
    if given != 1:
        raise InvalidRequest(f"give exactly one of id, vector and text, got {given} of them")
    if question.text:
        raise InvalidRequest(
            f"no {question.level} encoder in this store embeds text; text queries need an encoder "
            "that embeds images and text in one space"
        )


def _query_vector(
    view: View, question: SimilarQuestion
) -> tuple[StoredEncoder, np.ndarray, str | None]:
    encoder = choose_encoder(view, question.level, question.encoder, question.id)
    if question.id:
        row = view.find(encoder, question.id)
        raw = vector_matrix(row["vector"])[:1]
        return encoder, view.comparable(encoder, raw)[0], row["patient_id"][0].as_py()
    raw = np.asarray(question.vector, dtype=np.float32)[None]
    if raw.shape[1] != encoder.dim:
        raise InvalidRequest(
            f"vector must have {encoder.dim} numbers for encoder {encoder.encoder_id}, "
            f"got {raw.shape[1]}"
        )
    if not np.isfinite(raw).all():
        raise InvalidRequest("vector must be finite, got NaN or infinity")
    return encoder, view.comparable(encoder, raw)[0], None


def _candidates(view: View, encoder: StoredEncoder) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Rows without vectors, and what is compared: all at once where they fit into memory."""
    if view.vector_rows(encoder) * encoder.dim * 4 <= IN_MEMORY_BYTES:
        loaded = view.vectors(encoder)
        yield loaded.rows, loaded.matrix
        return
    for batch in view.scan(encoder):
        matrix = view.comparable(encoder, vector_matrix(batch.column("vector")))
        yield pa.Table.from_batches([batch]).drop_columns(["vector"]), matrix


def _allowed(
    view: View, question: SimilarQuestion, rows: pa.Table, patient_id: str | None
) -> np.ndarray:
    allowed = np.ones(rows.num_rows, dtype=bool)
    if question.id:
        allowed &= _differ(rows[ID_COLUMN[question.level]], question.id)
    if patient_id is not None and not question.same_patient:
        allowed &= _differ(rows["patient_id"], patient_id)
    if question.where:
        allowed &= matching_rows(describe_rows(view, question.level, rows), question.where)
    return allowed


def _differ(column: pa.ChunkedArray, value: str) -> np.ndarray:
    return pc.not_equal(column, value).fill_null(True).to_numpy()


def _closest(rows: pa.Table, cosines: np.ndarray, allowed: np.ndarray, limit: int) -> pa.Table:
    picked = np.flatnonzero(allowed)
    # Rounding can bring the cosine of equal vectors a little over 1.
    distances = np.clip(1.0 - cosines[picked], 0.0, 2.0)
    if len(picked) > limit:
        # Ties with the last one stay: their ids decide.
        is_close = distances <= np.partition(distances, limit - 1)[limit - 1]
        picked, distances = picked[is_close], distances[is_close]
    return rows.take(picked).append_column("distance", pa.array(distances.astype(np.float64)))


def _nearest(rows: pa.Table, level: str, limit: int) -> pa.Table:
    order = pc.sort_indices(
        rows, sort_keys=[("distance", "ascending"), (ID_COLUMN[level], "ascending")]
    )
    return rows.take(order[:limit])


def _hits(rows: pa.Table, level: str) -> Iterator[Hit]:
    for row in rows.to_pylist():
        identifier, patient_id = row.pop(ID_COLUMN[level]), row.pop("patient_id")
        distance = row.pop("distance")
        details = {name: value for name, value in row.items() if _is_telling(value)}
        yield Hit(identifier, patient_id, distance, details)


def _is_telling(value: Any) -> bool:
    """Texts and finite numbers travel in an answer; times and lists are for the export."""
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
