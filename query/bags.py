"""Bags for training: a patient with its lesions, patches, profile and outcome, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tumorbase.query.point_in_time import KNOWN
from tumorbase.query.similar import choose_encoder
from tumorbase.store.vectors import vector_matrix
from tumorbase.store.view import View

_OUTCOME = f"""
SELECT patient_id, time_days, is_event FROM outcome WHERE endpoint = $endpoint AND {KNOWN}
QUALIFY row_number() OVER (PARTITION BY patient_id ORDER BY known_at DESC, time_days) = 1
"""
# Whose times a level's rows have, and how they name it.
_TIMED_BY = {"lesion": "lesion", "patch": "slide", "profile": "profile"}


@dataclass(frozen=True)
class Bag:
    """One patient. A modality that it lacks is a tensor of no rows.

    `lesions` (lesions, dim), `patches` (patches, dim), `profiles` (profiles, dim) are float32, as
    compared in similarity search: standardised where their encoder is, each row of length 1.
    `time_days` and `is_event` are None where no outcome is known.
    """

    patient_id: str
    lesions: torch.Tensor
    patches: torch.Tensor
    profiles: torch.Tensor
    time_days: float | None
    is_event: bool | None


def bags(
    view: View,
    endpoint: str,
    patient_ids: Sequence[str] | None = None,
    as_of: datetime | None = None,
) -> Iterator[Bag]:
    """One bag a patient, in the order given, else of all patients in the order of their ids.

    Feed it to a torch `DataLoader` through an `IterableDataset`, or just iterate: one patient's
    vectors are in memory at a time. With `as_of` (UTC) a bag holds what was known then.
    """
    if patient_ids is None:
        patients = view.sql("SELECT patient_id FROM patient ORDER BY patient_id")
        patient_ids = patients["patient_id"].to_pylist()
    outcomes = {
        row["patient_id"]: (row["time_days"], row["is_event"])
        for row in view.sql(_OUTCOME, endpoint=endpoint, as_of=as_of).to_pylist()
    }
    known = {level: _known_ids(view, level, as_of) for level in _TIMED_BY}
    for patient_id in patient_ids:
        lesions, patches, profiles = (
            _tensor(view, level, patient_id, known[level]) for level in _TIMED_BY
        )
        yield Bag(patient_id, lesions, patches, profiles, *outcomes.get(patient_id, (None, None)))


def _known_ids(view: View, level: str, as_of: datetime | None) -> pa.Array:
    table = _TIMED_BY[level]
    found = view.sql(f"SELECT {table}_id AS id FROM {table} WHERE {KNOWN}", as_of=as_of)
    return found["id"].combine_chunks()


def _tensor(view: View, level: str, patient_id: str, known: pa.Array) -> torch.Tensor:
    if not view.encoders(level):
        return torch.empty(0, 0)
    encoder = choose_encoder(view, level, "")
    key = f"{_TIMED_BY[level]}_id"
    rows = view.of_patient(encoder, patient_id)
    rows = rows.filter(pc.is_in(rows[key], known))
    matrix = view.comparable(encoder, vector_matrix(rows["vector"]))
    return torch.from_numpy(np.ascontiguousarray(matrix))
