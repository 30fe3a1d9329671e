"""Standardised uptake values by body weight (SUVbw) from PET in Bq/ml.

Source: QIBA Profile FDG-PET/CT 1.05, appendix G.1, the vendor-neutral computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from tumorbase.ingest.dicom_header import read_dataset, refuse_damage
from tumorbase.store.errors import BadInput

_TAGS = (
    "Units",
    "SUVType",
    "CorrectedImage",
    "DecayCorrection",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "PatientWeight",
    "RadiopharmaceuticalInformationSequence",
)
_GRAMS_PER_KG = 1000.0
_MOST_HALF_LIVES = 10.0  # of a tracer that a scanner still sees


def suv_scale(paths: Sequence[str]) -> float:
    """What the voxels of a PET series are multiplied by to be SUVbw in g/ml: 1 where they are.

    Args:
        paths: all files of the series, whose acquisitions tell when the scan began.

    Raises:
        BadInput: the units are neither Bq/ml nor g/ml by body weight, attenuation or decay is not
            corrected for, or what the computation needs is not stated.
    """
    headers = [read_dataset(path, tags=_TAGS, pixels=False) for path in paths]
    path, first = paths[0], headers[0]
    with refuse_damage(path):
        units, kind = str(first.get("Units") or ""), str(first.get("SUVType") or "BW")
        if units == "GML" and kind == "BW":
            return 1.0
        if units != "BQML":
            got = f"{units or 'none'} of type {kind}"
            raise BadInput(path, f"Units must be BQML, or GML of type BW, got {got}")
        if missing := {"ATTN", "DECY"} - set(first.get("CorrectedImage") or ()):
            lacking = " and ".join(sorted(missing))
            raise BadInput(path, f"CorrectedImage must hold ATTN and DECY, {lacking} is missing")
        given = (first.get("RadiopharmaceuticalInformationSequence") or [Dataset()])[0]
        dose_bq = _stated(path, given, "RadionuclideTotalDose") * _decay(path, headers, given)
        return _stated(path, first, "PatientWeight") * _GRAMS_PER_KG / dose_bq


def _decay(path: str, headers: Sequence[Dataset], given: Dataset) -> float:
    """The part of the injected activity that is left at the time that voxels are corrected to."""
    corrected_to = headers[0].get("DecayCorrection")
    if corrected_to == "ADMIN":
        return 1.0
    if corrected_to != "START":
        raise BadInput(path, f"DecayCorrection must be START or ADMIN, got {corrected_to!r}")
    taken = [_time(one, "AcquisitionDate", "AcquisitionTime") for one in headers]
    # The series is dated later than its acquisitions where it was made from them afterwards.
    began = min(filter(None, [*taken, _time(headers[0], "SeriesDate", "SeriesTime")]), default=None)
    if began is None:
        raise BadInput(path, "SeriesDate, SeriesTime and the times of acquisition are missing")
    injected = _injected(path, given, began)
    half_lives = (began - injected).total_seconds() / _stated(path, given, "RadionuclideHalfLife")
    if not 0 <= half_lives <= _MOST_HALF_LIVES:  # dates were changed, and not all alike
        raise BadInput(path, f"tracer given at {injected} for a scan at {began}")
    return float(0.5**half_lives)


def _injected(path: str, given: Dataset, began: datetime) -> datetime:
    """When the tracer was given; where only the time of day is stated, less than a day before."""
    if stated := str(given.get("RadiopharmaceuticalStartDateTime") or ""):
        return datetime.strptime(stated[:14], "%Y%m%d%H%M%S")
    if not (time := str(given.get("RadiopharmaceuticalStartTime") or "")):
        raise BadInput(path, "RadiopharmaceuticalStartTime is missing")
    injected = datetime.strptime(f"{began:%Y%m%d}{time[:6]}", "%Y%m%d%H%M%S")
    return injected if injected <= began else injected - timedelta(days=1)


def _time(dataset: Dataset, date: str, time: str) -> datetime | None:
    stated = str(dataset.get(date) or ""), str(dataset.get(time) or "")
    return datetime.strptime(stated[0] + stated[1][:6], "%Y%m%d%H%M%S") if all(stated) else None


def _stated(path: str, dataset: Dataset, keyword: str) -> float:
    value = float(dataset.get(keyword) or 0)
    if not 0 < value < float("inf"):
        raise BadInput(path, f"{keyword} must be positive, got {dataset.get(keyword)!r}")
    return value
