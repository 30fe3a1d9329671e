"""Bags for training: a patient with its lesions, patches, profile and outcome, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tumorbase.query.point_in_time import KNOWN, in_utc, known_patients
from tumorbase.query.similar import choose_encoder
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.vectors import vector_matrix
from tumorbase.store.view import View

# Of two that were known at the same time the longer one, as `survival_cohort` has it.
_OUTCOME = f"""
SELECT patient_id, time_days, is_event FROM outcome WHERE endpoint = $endpoint AND {KNOWN}
QUALIFY row_number() OVER (
    PARTITION BY patient_id ORDER BY known_at DESC, time_days DESC, is_event DESC) = 1
"""
# Whose times a level's rows have, and how they name it.
_TIMED_BY = {"lesion": "lesion", "patch": "slide", "profile": "profile"}


@dataclass(frozen=True)
class Bag:
    """One patient. A modality that it lacks is a tensor of no rows.

    `lesions` (lesions, dim), `patches` (patches, dim), `profiles` (profiles, dim) are float32, as
    compared in similarity search: standardised where their encoder is, each row of length 1; dim is
    0 where the store has no vector of the level. `time_days` and `is_event` are None where no
    outcome is known.
    """

    patient_id: str
    lesions: torch.Tensor
    patches: torch.Tensor
    profiles: torch.Tensor
    time_days: float | None
    is_event: bool | None


@dataclass(frozen=True)
class _Source:
    """Where one modality comes from: its encoder, and the ids (of `key`) that count."""

    encoder: StoredEncoder
    key: str
    known: pa.Array


def bags(
    view: View,
    endpoint: str,
    patient_ids: Sequence[str] | None = None,
    as_of: datetime | None = None,
) -> Iterator[Bag]:
    """One bag a patient, in the order given, else of all known patients in the order of their ids.

    One patient's vectors are in memory at a time. With `as_of` (UTC) a bag holds what was known
    then; standardised encoders use the statistics of the view's whole cohort all the same, so take
    a view of that time's commit where these must not know the later patients either.

    For a torch `DataLoader`, wrap it; bags differ in size, so each is a batch of its own:

        class Bags(IterableDataset):
            def __iter__(self):
                return bags(view, "OS")

        for bag in DataLoader(Bags(), batch_size=None):
            ...
    """
    as_of = in_utc(as_of)
    if patient_ids is None:
        patient_ids = known_patients(view, as_of).to_pylist()
    outcomes = {
        row["patient_id"]: (row["time_days"], row["is_event"])
        for row in view.sql(_OUTCOME, endpoint=endpoint, as_of=as_of).to_pylist()
    }
    sources = [_source(view, level, as_of) for level in _TIMED_BY]
    for patient_id in patient_ids:
        lesions, patches, profiles = (_tensor(view, source, patient_id) for source in sources)
        yield Bag(patient_id, lesions, patches, profiles, *outcomes.get(patient_id, (None, None)))


def _source(view: View, level: str, as_of: datetime | None) -> _Source | None:
    if not view.encoders(level):
        return None
    key = f"{_TIMED_BY[level]}_id"
    query = f"SELECT {key} FROM {_TIMED_BY[level]} WHERE {KNOWN}"
    known = view.sql(query, as_of=as_of)[key].combine_chunks()
    return _Source(choose_encoder(view, level), key, known)


def _tensor(view: View, source: _Source | None, patient_id: str) -> torch.Tensor:
    if source is None:
        return torch.empty(0, 0)
    rows = view.of_patient(source.encoder, patient_id)
    rows = rows.filter(pc.is_in(rows[source.key], source.known))
    matrix = view.comparable(source.encoder, vector_matrix(rows["vector"]))
    return torch.from_numpy(np.ascontiguousarray(matrix))
