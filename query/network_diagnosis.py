"""What could this be? What a network says of the scans of a patient's latest study."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.compute as pc

from tumorbase.models.disorder_names import read_disorder_names
from tumorbase.models.encoders import (
    POOLED_SUFFIX,
    DiagnosticEncoder,
    Runtime,
    build_encoder,
    find_entry,
)
from tumorbase.query.answers import Diagnosed, DiagnosisCandidate, Receipt
from tumorbase.query.icd10cm import category_title
from tumorbase.query.stored_weights import require_same_weights
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, MissingWeights, NotFound
from tumorbase.store.vectors import vector_matrix
from tumorbase.store.view import View

CANDIDATES = 20  # of thousands
_CODE = re.compile(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?")

_LATEST = """
SELECT study_id, study_date FROM study WHERE patient_id = $patient_id
ORDER BY study_date DESC NULLS LAST, study_id
"""


def diagnose_by_network(
    view: View, patient_id: str, encoder: str, weights: Path | None
) -> Diagnosed:
    """The 20 most probable classes of the head of the network that made the vectors of cases.

    The head reads the vector of the patient's latest study that has one. Probabilities are the
    network's own, each class by itself: they do not sum to 1. A class whose name is an ICD-10-CM
    code has it as such; other names are given as they are, without a code.

    Args:
        view: of the store.
        patient_id: whose scans.
        encoder: name of the network, such as "radnet".
        weights: folder with its weights and the names of its classes; else $TUMORBASE_WEIGHTS.

    Raises:
        InvalidRequest: this encoder does not diagnose.
        NotFound: the store has no such patient, or no vector of a case of theirs by this network.
        MissingWeights: those that made the stored vectors, or the names, are not found.
    """
    entry = find_entry(encoder)
    if entry is None or not entry.diagnoses:
        raise InvalidRequest(f"encoder {encoder!r} does not diagnose; radnet does")
    if patient_id not in view.table("patient")["patient_id"].to_pylist():
        raise NotFound("patient", patient_id)
    stored = view.encoder("case", f"{encoder}{POOLED_SUFFIX}")
    study_id, vector = _latest_case(view, stored, patient_id)
    try:
        network, names = _network(stored, encoder, weights)
        (probabilities,) = network.probabilities(vector)
    except ValueError as error:
        raise MissingWeights(str(error)) from error
    most = np.argsort(-probabilities, kind="stable")[:CANDIDATES]
    return Diagnosed(
        patient_id,
        tuple(_candidate(names[place], float(probabilities[place])) for place in most),
        Receipt(
            view.commit_id,
            stored.encoder_id,
            stored.weights_sha256,
            rows_searched=1,
            notes=(f"of study {study_id}", "probabilities are the network's own, not calibrated"),
        ),
    )


def _latest_case(view: View, stored: StoredEncoder, patient_id: str) -> tuple[str, np.ndarray]:
    """The study and the vector of its case, float32 (1, dim), as the network gave it."""
    cases = view.of_patient(stored, patient_id)
    for study_id in view.sql(_LATEST, patient_id=patient_id)["study_id"].to_pylist():
        of_study = cases.filter(pc.equal(cases["study_id"], study_id))
        if of_study.num_rows:
            return study_id, vector_matrix(of_study["vector"])[:1]
    raise NotFound(f"{stored.name} vector of a case of patient", patient_id)


@lru_cache(maxsize=1)
def _network(
    stored: StoredEncoder, name: str, weights: Path | None
) -> tuple[DiagnosticEncoder, tuple[str, ...]]:
    network = cast(DiagnosticEncoder, build_encoder(name, Runtime(weights=weights)))
    require_same_weights(name, network.case_spec.encoder_id, stored.encoder_id)
    classes = network.probabilities(np.zeros((1, stored.dim), np.float32)).shape[1]
    return network, read_disorder_names(weights, classes)


def _candidate(name: str, probability: float) -> DiagnosisCandidate:
    if _CODE.fullmatch(name):
        return DiagnosisCandidate(name, category_title(name), probability)
    return DiagnosisCandidate("", name, probability)
