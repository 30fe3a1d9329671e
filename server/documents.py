"""Answers as the JSON documents of the command line; their keys are its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tumorbase.query.answers import (
    Diagnosed,
    Hit,
    PatientTracks,
    Receipt,
    Scored,
    Similar,
    Trained,
)

if TYPE_CHECKING:
    from tumorbase.ingest.pipeline import IngestSummary
    from tumorbase.server.overview import Overview


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """commit, encoder, weights_sha256, exact, where, rows_searched, notes."""
    fields = asdict(receipt)
    return {"exact" if name == "is_exact" else name: field for name, field in fields.items()}


def similar_document(similar: Similar) -> dict[str, Any]:
    """level, encoder, exact, hits (nearest first), receipt."""
    return {
        "level": similar.level,
        "encoder": similar.encoder,
        "exact": similar.is_exact,
        "hits": [_hit_document(hit) for hit in similar.hits],
        "receipt": receipt_document(similar.receipt),
    }


def _hit_document(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "patient_id": hit.patient_id,
        "distance": hit.distance,
        **{name: value for name, value in sorted(hit.details.items()) if name not in _HIT_KEYS},
        "contributions": [asdict(part) for part in hit.contributions],
    }


_HIT_KEYS = ("id", "patient_id", "distance", "contributions")


def tracks_document(patients: Sequence[PatientTracks]) -> dict[str, Any]:
    """patients, each with patient_id, tracks, sums, receipt."""
    return {"patients": [_with_receipt(patient) for patient in patients]}


def trained_document(trained: Trained) -> dict[str, Any]:
    """model, architecture, endpoint, patients, events, features, c_index, seconds, receipt."""
    return _with_receipt(trained)


def scored_document(scored: Scored) -> dict[str, Any]:
    """model, scores, receipt."""
    return _with_receipt(scored)


def diagnosed_document(diagnosed: Diagnosed) -> dict[str, Any]:
    """patient_id, diagnoses (most probable first), receipt."""
    return _with_receipt(diagnosed)


def ingest_document(summary: IngestSummary) -> dict[str, Any]:
    """The fields of `IngestSummary`, by their names."""
    return _in_order(asdict(summary), "added", "timings", "outdated", "encoded")


def status_document(overview: Overview) -> dict[str, Any]:
    """The fields of `Overview`, by their names."""
    return _in_order(asdict(overview), "counts", "snapshots")


def _in_order(document: dict[str, Any], *maps: str) -> dict[str, Any]:
    """The document with these maps sorted by their keys: those of a server come in any order."""
    return {**document, **{name: dict(sorted(document[name].items())) for name in maps}}


def _with_receipt(answer: PatientTracks | Trained | Scored | Diagnosed) -> dict[str, Any]:
    return {**asdict(answer), "receipt": receipt_document(answer.receipt)}
