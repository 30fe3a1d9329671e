"""The reader of cases: the scans of a study together become a vector of the case and of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from time import perf_counter
from typing import Any, cast

import numpy as np

from tumorbase.ingest.case_plan import series_id
from tumorbase.ingest.chosen_encoders import encoders_of
from tumorbase.ingest.drawn_scan import read_scan
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import CaseEncoder
from tumorbase.models.scan_preparation import MODALITY_IDS, Sample, grey_slices
from tumorbase.store.errors import BadInput

# DICOM modality -> its name among those that cases are encoded by.
MODALITIES = {"CT": "CT", "MR": "MRI", "PT": "Nuclear medicine"}


def read_case(item: Item, context: Context) -> ItemRows:
    """Vectors of one case and of its scans.

    Raises:
        BadInput: a scan or what is drawn on it cannot be read, as `read_scan`: without its series
            in the store, a vector would be of nothing.
    """
    started = perf_counter()
    scans, files = item.details["scans"], iter(item.files)
    slices = [_slices(scan, tuple(islice(files, scan["files"]))) for scan in scans]
    read_at = perf_counter()
    samples = list(_samples(scans, slices))
    study = {"study_id": item.details["study_id"], "patient_id": item.patient_id}
    series = [{"series_id": series_id(scan), **study} for scan in scans]
    case = [{"case_id": item.key.removeprefix("case:"), **study}]
    rows = ItemRows()
    for encoder in cast("tuple[CaseEncoder, ...]", encoders_of(context, "series")):
        of_scans, of_case = encoder.encode_case(samples)
        for spec, ids, vectors in (
            (encoder.spec, series, of_scans),
            (encoder.case_spec, case, of_case),
        ):
            columns = {name: [one[name] for one in ids] for name in ids[0]}
            rows.vectors.append(stage(context, spec, [vector_batch(spec, columns, vectors)]))
    rows.seconds = {"read": read_at - started, "encode": perf_counter() - read_at}
    return rows


def _slices(scan: Mapping[str, Any], files: tuple[str, ...]) -> np.ndarray:
    details = scan["details"]
    if scan["kind"] == "ct_nifti":
        path = files[0]
    else:
        path = os.path.commonpath([os.path.dirname(file) for file in files[: details["slices"]]])
    try:
        read = read_scan(Item(scan["kind"], scan["key"], path, files, details=details))
    except BadInput as error:
        raise BadInput(error.path, f"its case has no vector without it: {error.reason}") from error
    return grey_slices(read.volume.voxels, _modality(scan))


def _modality(scan: Mapping[str, Any]) -> str:
    return MODALITIES[scan["details"]["modality"]]


def _samples(scans: Sequence[Mapping[str, Any]], slices: Sequence[np.ndarray]) -> Iterator[Sample]:
    """Scans of one modality together, but no more of them than can be told apart."""
    pairs = zip(scans, slices, strict=True)
    for modality, of_modality in groupby(pairs, lambda pair: _modality(pair[0])):
        grey, most = [slices for _, slices in of_modality], len(MODALITY_IDS[modality])
        for first in range(0, len(grey), most):
            yield Sample(modality, grey[first : first + most])
