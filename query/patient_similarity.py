"""Who is like this patient: distances over whatever modalities two patients share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.query.answers import Contribution, Hit, Receipt, Similar, SimilarQuestion
from tumorbase.query.level_columns import covariates
from tumorbase.query.predicate import matching_rows
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, NotFound
from tumorbase.store.view import View

PATIENT_ENCODER = "patient-fusion-1"
LEVELS = ("lesion", "slide", "profile")
MAX_CATEGORIES = 20


@dataclass(frozen=True)
class Modality:
    """One modality of all patients: `matrix` (patients, dim), of unit length where `present`.

    `typical` is the mean cosine distance of two patients who have it.
    """

    name: str
    matrix: np.ndarray
    present: np.ndarray
    typical: float


@dataclass(frozen=True)
class PatientSpace:
    """Every patient's vector in every modality, and the covariates filters are asked of."""

    patient_ids: list[str]
    modalities: tuple[Modality, ...]
    covariates: pa.Table

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return int(self.covariates.nbytes + sum(each.matrix.nbytes for each in self.modalities))


def patient_space(view: View) -> PatientSpace:
    """The patients of a view.

    A patient's vector in a modality is the mean of what is compared of its lesions (or slides,
    profiles), made of unit length. "clinical" are the covariates: numbers standardised, categories
    as indicators.
    """
    return view.remembered("patient-space", lambda: _patient_space(view))


def _patient_space(view: View) -> PatientSpace:
    table = covariates(view)
    patient_ids = table["patient_id"].to_pylist()
    modalities = []
    for level in LEVELS:
        for encoder in _telling(view.fullest_encoders(level)):
            vectors = view.vectors(encoder)
            pooled = _pool(vectors.matrix, vectors.rows["patient_id"], table["patient_id"])
            modalities.append(_modality(f"{level}:{encoder.name}", *pooled))
    clinical = _clinical(table)
    if clinical is not None:
        modalities.append(clinical)
    return PatientSpace(patient_ids, tuple(modalities), table)


def fused_distances(space: PatientSpace, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance of patient `row` to every patient, (patients,), and in each modality.

    Each modality's cosine distances are divided by the modality's `typical` one, so that 1 is a
    typical pair of patients in each, and modalities weigh the same: (modalities, patients), NaN
    where not shared. The distance is the mean over the modalities that both patients have, the same
    from either side; infinite where they share none, and to the patient itself.
    """
    scaled = np.full((len(space.modalities), len(space.patient_ids)), np.nan)
    for index, modality in enumerate(space.modalities):
        if not modality.present[row]:
            continue
        others = modality.present.copy()
        others[row] = False
        cosine = np.clip(1.0 - modality.matrix @ modality.matrix[row], 0.0, 2.0)
        scaled[index, others] = cosine[others] / modality.typical
    shared = ~np.isnan(scaled)
    counts = shared.sum(axis=0)
    total = np.where(shared, scaled, 0.0).sum(axis=0)
    distances = np.where(counts > 0, total / np.maximum(counts, 1), np.inf)
    distances[row] = np.inf
    return distances, scaled


def similar_patients(view: View, question: SimilarQuestion) -> Similar:
    """The patients nearest to `question.id`, with what each shared modality contributed.

    Raises:
        NotFound: no such patient.
        InvalidRequest: the question is by vector, or its filter is wrong.
    """
    if not question.id:
        raise InvalidRequest("a patient is asked for by id: its modalities have no common vector")
    space = patient_space(view)
    if question.id not in space.patient_ids:
        raise NotFound("patient", question.id)
    distances, scaled = fused_distances(space, space.patient_ids.index(question.id))
    allowed = np.isfinite(distances)
    if question.where:
        allowed &= matching_rows(space.covariates, question.where)
    candidates = np.flatnonzero(allowed)
    order = candidates[np.lexsort((candidates, distances[candidates]))][: question.limit]
    known = space.covariates.take(order).drop_columns(["patient_id"]).to_pylist()
    hits = [
        Hit(
            id=space.patient_ids[place],
            patient_id=space.patient_ids[place],
            distance=float(distances[place]),
            details={name: value for name, value in row.items() if value is not None},
            contributions=_contributions(space, scaled[:, place]),
        )
        for place, row in zip(order, known, strict=True)
    ]
    notes = ("distances are relative: 1 is a typical pair of patients in each modality",)
    receipt = Receipt(
        view.commit_id,
        PATIENT_ENCODER,
        where=question.where,
        rows_searched=len(candidates),
        notes=notes,
    )
    return Similar("patient", PATIENT_ENCODER, True, tuple(hits), receipt)


def _contributions(space: PatientSpace, scaled: np.ndarray) -> tuple[Contribution, ...]:
    shared = np.flatnonzero(~np.isnan(scaled))
    return tuple(
        Contribution(space.modalities[m].name, float(scaled[m]), 1 / len(shared)) for m in shared
    )


def _telling(encoders: list[StoredEncoder]) -> list[StoredEncoder]:
    """Position and size say little across patients: they count where nothing else does."""
    return [e for e in encoders if e.name != "measurement"] or encoders


def _pool(
    matrix: np.ndarray, owners: pa.ChunkedArray, patients: pa.ChunkedArray
) -> tuple[np.ndarray, np.ndarray]:
    place = pc.index_in(owners, value_set=patients.combine_chunks())
    known = place.is_valid().to_numpy()
    rows = place.drop_null().to_numpy()
    sums = np.zeros((len(patients), matrix.shape[1]))
    np.add.at(sums, rows, matrix[known])
    counts = np.bincount(rows, minlength=len(patients))
    return sums / np.maximum(counts, 1)[:, None], counts > 0


def _modality(name: str, matrix: np.ndarray, present: np.ndarray) -> Modality:
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit = matrix / np.maximum(lengths, 1e-12)
    return Modality(name, unit, present, _typical_distance(unit[present]))


def _typical_distance(unit: np.ndarray) -> float:
    """Mean cosine distance of all pairs of rows; 1 where it is none, to divide by.

    All pairs' products are the square of the rows' sum but for each row's product with itself.
    """
    pairs = len(unit) * (len(unit) - 1)
    products = np.square(unit.sum(axis=0)).sum() - np.square(unit).sum()
    typical = 1.0 - products / max(pairs, 1)
    return typical if typical > 1e-9 else 1.0


def _clinical(table: pa.Table) -> Modality | None:
    """Covariates as vectors; a missing value is the mean, a patient without any has no vector."""
    columns, known = [], []
    for name in table.column_names[1:]:
        column = table[name]
        known.append(column.is_valid().to_numpy())
        if pa.types.is_floating(column.type):
            columns.append(column.to_numpy()[:, None])
        else:
            categories = pc.unique(column.drop_null()).sort()[:MAX_CATEGORIES]
            codes = pc.index_in(column, value_set=categories).fill_null(-1).to_numpy()
            columns.append((codes[:, None] == np.arange(len(categories))).astype(float))
    if not columns:
        return None
    present = np.any(known, axis=0)
    matrix = np.concatenate(columns, axis=1)
    matrix -= np.nanmean(matrix, axis=0, where=np.isfinite(matrix))
    deviation = np.nanstd(matrix, axis=0, where=np.isfinite(matrix))
    matrix = np.nan_to_num(matrix / np.where(deviation > 0, deviation, 1.0))
    return _modality("clinical", matrix, present)
