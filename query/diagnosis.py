"""What could this be? A vote of the most similar patients on ICD-10-CM codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumorbase.query.answers import Diagnosed, DiagnosisCandidate, Receipt
from tumorbase.query.icd10cm import category_title
from tumorbase.query.patient_similarity import (
    PATIENT_ENCODER,
    PatientSpace,
    fused_distances,
    patient_space,
)
from tumorbase.store.errors import NotEnoughData, NotFound
from tumorbase.store.view import View

NEIGHBOURS = 10
HIT_RANKS = (1, 5)
MAX_LEFT_OUT = 1000  # patients by whom the hit rate is measured, so that an answer takes seconds

_CODES = "SELECT DISTINCT patient_id, icd10cm FROM diagnosis ORDER BY patient_id, icd10cm"


def diagnose(view: View, patient_id: str) -> Diagnosed:
    """ICD-10-CM codes of the most similar diagnosed patients, most probable first.

    Each of the `NEIGHBOURS` nearest diagnosed patients votes with weight exp(-distance), in which 1
    is the distance of a typical stranger, for all of its codes in equal parts; a code's probability
    is its share of all votes. The patient's own codes are not used. The receipt notes how often the
    first and one of the first five candidates of a diagnosed patient is one of its own codes when
    it is left out.

    Raises:
        NotFound: the store has no such patient.
        NotEnoughData: no diagnosed patient shares a modality with this one.
    """
    space = patient_space(view)
    if patient_id not in space.patient_ids:
        raise NotFound("patient", patient_id)
    codes = _codes_of_rows(view, space)
    row = space.patient_ids.index(patient_id)
    votes = _votes(fused_distances(space, row)[0], codes)
    if not votes:
        raise NotEnoughData(f"no diagnosed patient shares any modality with {patient_id!r}")
    candidates = tuple(
        DiagnosisCandidate(
            vote.icd10cm,
            category_title(vote.icd10cm),
            vote.probability,
            tuple(space.patient_ids[neighbour] for neighbour in vote.neighbours),
        )
        for vote in votes
    )
    receipt = Receipt(
        view.commit_id, PATIENT_ENCODER, rows_searched=len(codes), notes=(_hit_rates(space, codes),)
    )
    return Diagnosed(patient_id, candidates, receipt)


@dataclass(frozen=True)
class _Vote:
    """The share of one code; `neighbours` are the rows that voted for it, nearest first."""

    icd10cm: str
    probability: float
    neighbours: tuple[int, ...]


def _codes_of_rows(view: View, space: PatientSpace) -> dict[int, tuple[str, ...]]:
    """Codes of each diagnosed patient, by its row in the space, ascending."""
    row_of = {patient_id: row for row, patient_id in enumerate(space.patient_ids)}
    codes: dict[int, tuple[str, ...]] = {}
    for diagnosis in view.sql(_CODES).to_pylist():
        row = row_of.get(diagnosis["patient_id"])
        if row is not None:
            codes[row] = (*codes.get(row, ()), diagnosis["icd10cm"])
    return dict(sorted(codes.items()))


def _votes(distances: np.ndarray, codes: dict[int, tuple[str, ...]]) -> list[_Vote]:
    """The votes of the nearest diagnosed patients, most probable first, then by code."""
    voters = np.fromiter(codes, dtype=np.intp, count=len(codes))  # ascending
    voters = voters[np.isfinite(distances[voters])]  # which leaves the patient itself out
    nearest = voters[np.argsort(distances[voters], kind="stable")][:NEIGHBOURS].tolist()
    weight: dict[str, float] = {}
    supporters: dict[str, list[int]] = {}
    for other in nearest:
        for code in codes[other]:
            share = float(np.exp(-distances[other])) / len(codes[other])
            weight[code] = weight.get(code, 0.0) + share
            supporters.setdefault(code, []).append(other)
    total = sum(weight.values())
    return [
        _Vote(code, weight[code] / total, tuple(supporters[code]))
        for code in sorted(weight, key=lambda code: (-weight[code], code))
    ]


def _hit_rates(space: PatientSpace, codes: dict[int, tuple[str, ...]]) -> str:
    """Leave-one-out hit rates over the diagnosed patients who have diagnosed neighbours.

    Of more than `MAX_LEFT_OUT`, that many are taken, spread evenly.
    """
    hits = dict.fromkeys(HIT_RANKS, 0)
    asked = 0
    rows = np.array(list(codes))
    if len(rows) > MAX_LEFT_OUT:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_LEFT_OUT).astype(np.intp)]
    for row in rows.tolist():
        found = [vote.icd10cm for vote in _votes(fused_distances(space, row)[0], codes)]
        asked += bool(found)
        for rank in HIT_RANKS:
            hits[rank] += bool(set(found[:rank]) & set(codes[row]))
    rates = ", ".join(f"hit@{rank} {hits[rank] / max(asked, 1):.3f}" for rank in HIT_RANKS)
    return f"leave-one-out over {asked} diagnosed patients: {rates}"
