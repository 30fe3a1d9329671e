"""The nearest neighbours of a lesion, patch, nucleus, slide, profile, series, case or patient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.query.answers import Hit, Receipt, Similar, SimilarQuestion
from tumorbase.query.level_columns import describe_rows
from tumorbase.query.patient_similarity import similar_patients
from tumorbase.query.predicate import matching_rows
from tumorbase.query.text_query import choose_text_encoder, embed_text
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, NotFound
from tumorbase.store.schema import ID_COLUMN, METADATA
from tumorbase.store.vectors import vector_matrix
from tumorbase.store.view import View

# A score, as that of the level "body_part", has no direction to compare.
SEARCHED = tuple(level for level in ID_COLUMN if level != "body_part")
MAX_LIMIT = 1000
MAX_VALUE = 1e18  # of a vector given; squares of larger ones leave float32
# Larger sets are read from disk in batches at every question instead of kept in memory.
IN_MEMORY_BYTES = 512 * 1024**2
# Which of several encoders answers when none is named: the one that saw most of the pixels.
PREFERENCE = (
    "radiomics",
    "radiomics-mr",
    "radiomics-pt",
    "radiomics-2d",
    "stain-texture",
    "nucleus-shape",
    "measurement",
)


@dataclass(frozen=True)
class _Query:
    """What is compared, float32 (dim,) of unit length, and whose it is: empty for a vector."""

    vector: np.ndarray
    id: str = ""
    patient_id: str = ""


def similar(view: View, question: SimilarQuestion, weights: Path | None = None) -> Similar:
    """The `limit` nearest to the query by cosine distance, nearest first, found exhaustively.

    The query itself is never among them, and others of its patient only if asked for. Equal
    distances are ordered by id. The view decides at which commit the question is asked.

    Args:
        view: of the store.
        question: what is asked.
        weights: folder with the weights of the network that embeds a text; else
            $TUMORBASE_WEIGHTS, else the hub's cache.

    Raises:
        InvalidRequest: the question is not one question, or its limit, vector or filter is wrong.
        NotFound: the id, or the encoder, is not in the store.
        MissingWeights: those that embed the text are not found.
    """
    _check(question)
    if question.level == "patient":
        return similar_patients(view, question)
    encoder, query = _query(view, question, weights)
    best: list[pa.Table] = []
    searched = 0
    for rows, matrix in _candidates(view, encoder):
        allowed = np.flatnonzero(_allowed(view, question, rows, query))
        searched += len(allowed)
        near = _with_distance(rows, matrix, query.vector, allowed, question.limit)
        best = [_nearest(pa.concat_tables([*best, near]), encoder.level, question.limit)]
    hits = _hits(describe_rows(view, question.level, best[0]), question.level) if best else ()
    return Similar(
        level=question.level,
        encoder=encoder.encoder_id,
        is_exact=True,
        hits=tuple(hits),
        receipt=Receipt(
            commit=view.commit_id,
            encoder=encoder.encoder_id,
            weights_sha256=encoder.weights_sha256,
            where=question.where,
            rows_searched=searched,
        ),
    )


def choose_encoder(view: View, level: str, name: str = "") -> StoredEncoder:
    """The named encoder of a level, else its preferred one.

    Raises:
        NotFound: the store has no such encoder.
        InvalidRequest: the named encoder is of another level.
    """
    return _encoders(view, level, name)[0]


def _encoders(view: View, level: str, name: str) -> list[StoredEncoder]:
    """Those of the name or id, else all of the level; the preferred one first, of one name that
    with the most vectors; never none.
    """
    newest_first = reversed(view.encoders(level))
    encoders = sorted(
        newest_first, key=lambda e: (preference(e.name), e.name, -view.vector_rows(e))
    )
    named = [e for e in encoders if name in ("", e.name, e.encoder_id)]
    if named:
        return named
    if not name:
        raise NotFound(f"{level} embedding", "any")
    others = {e.level for e in view.encoders() if name in (e.name, e.encoder_id)}
    if others and level not in others:
        raise InvalidRequest(f"encoder {name!r} embeds {', '.join(sorted(others))}, not {level}")
    raise NotFound(f"{level} encoder", name)


def preference(encoder: str) -> int:
    """The place of an encoder among those that answer when none is named, the first lowest."""
    # A published network was asked for by name when it was ingested, so it goes first.
    return PREFERENCE.index(encoder) if encoder in PREFERENCE else -1


def _check(question: SimilarQuestion) -> None:
    if question.level not in SEARCHED:
        known = ", ".join(SEARCHED)
        raise InvalidRequest(f"level must be one of {known}, got {question.level!r}")
    if not 1 <= question.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit must be in [1, {MAX_LIMIT}], got {question.limit}")
    given = sum((bool(question.id), bool(question.vector), bool(question.text)))
    if given != 1:
        raise InvalidRequest(f"give exactly one of id, vector and text, got {given} of them")


def _query(
    view: View, question: SimilarQuestion, weights: Path | None
) -> tuple[StoredEncoder, _Query]:
    encoders = _encoders(view, question.level, question.encoder)
    if question.text:
        encoder = choose_text_encoder(encoders, question.level)
        vector = embed_text(encoder, question.text, weights)
        return encoder, _Query(view.comparable(encoder, vector[None])[0])
    if not question.id:
        return encoders[0], _Query(_given_vector(view, encoders[0], question.vector))
    for encoder in encoders:
        found = _find(view, encoder, question.id)
        if found is not None:
            return encoder, found
    raise _missing(view, question)


def _given_vector(view: View, encoder: StoredEncoder, vector: tuple[float, ...]) -> np.ndarray:
    given = np.asarray(vector, dtype=np.float64)
    if len(given) != encoder.dim:
        raise InvalidRequest(
            f"vector must have {encoder.dim} numbers for encoder {encoder.encoder_id}, "
            f"got {len(given)}"
        )
    if not (np.abs(given) <= MAX_VALUE).all():  # NaN is not either
        raise InvalidRequest(f"vector must be of numbers in [-{MAX_VALUE:g}, {MAX_VALUE:g}]")
    compared = view.comparable(encoder, given[None].astype(np.float32))[0]
    if not compared.any():
        raise InvalidRequest("vector has no direction to compare: all of its numbers are 0")
    return compared


def _find(view: View, encoder: StoredEncoder, identifier: str) -> _Query | None:
    """The query by its id; None if the encoder has not encoded it."""
    key = ID_COLUMN[encoder.level]
    if _fits_in_memory(view, encoder):
        loaded = view.vectors(encoder)
        place = pc.index(loaded.rows[key], identifier).as_py()
        if place < 0:
            return None
        return _Query(
            loaded.matrix[place], identifier, loaded.rows["patient_id"][place].as_py() or ""
        )
    row = view.find(encoder, identifier)
    if not row.num_rows:
        return None
    compared = view.comparable(encoder, vector_matrix(row["vector"])[:1])[0]
    return _Query(compared, identifier, row["patient_id"][0].as_py() or "")


def _missing(view: View, question: SimilarQuestion) -> NotFound:
    """Which it is: there is no such thing, or it has no vector."""
    level = question.level
    if level in METADATA and question.id in view.table(level)[ID_COLUMN[level]].to_pylist():
        return NotFound(" ".join(filter(None, (question.encoder, "vector of", level))), question.id)
    return NotFound(level, question.id)


def _candidates(view: View, encoder: StoredEncoder) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Rows without vectors, and what is compared: all at once where they fit into memory."""
    if _fits_in_memory(view, encoder):
        loaded = view.vectors(encoder)
        yield loaded.rows, loaded.matrix
        return
    for batch in view.scan(encoder):
        matrix = view.comparable(encoder, vector_matrix(batch.column("vector")))
        yield pa.Table.from_batches([batch]).drop_columns(["vector"]), matrix


def _fits_in_memory(view: View, encoder: StoredEncoder) -> bool:
    return view.vector_rows(encoder) * encoder.dim * 4 <= IN_MEMORY_BYTES


def _allowed(view: View, question: SimilarQuestion, rows: pa.Table, query: _Query) -> np.ndarray:
    allowed = np.ones(rows.num_rows, dtype=bool)
    if query.id:
        allowed &= _differ(rows[ID_COLUMN[question.level]], query.id)
    if query.patient_id and not question.same_patient:
        allowed &= _differ(rows["patient_id"], query.patient_id)
    if question.where:
        allowed &= matching_rows(describe_rows(view, question.level, rows), question.where)
    return allowed


def _differ(column: pa.ChunkedArray, value: str) -> np.ndarray:
    return pc.not_equal(column, value).fill_null(True).to_numpy()


def _with_distance(
    rows: pa.Table, matrix: np.ndarray, query: np.ndarray, allowed: np.ndarray, limit: int
) -> pa.Table:
    """The nearest of the allowed rows, and more where rounding leaves them in doubt."""
    rough = matrix @ query
    if len(allowed) > limit:
        similarity = rough[allowed]
        last = np.partition(similarity, -limit)[-limit]
        # How far float32 sums of products of unit vectors can be off, at both of two.
        doubt = 4 * len(query) * np.finfo(np.float32).eps
        allowed = allowed[similarity >= last - doubt]
    # Summed row by row in float64, a distance does not depend on which rows were read together.
    exact = (matrix[allowed].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    # Rounding can bring the cosine of equal vectors a little over 1.
    distances = np.clip(1.0 - exact, 0.0, 2.0)
    return rows.take(allowed).append_column("distance", pa.array(distances))


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
