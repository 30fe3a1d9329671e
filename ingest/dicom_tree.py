"""The plan of DICOM files: one item a series, with the RTSTRUCT and SEG drawn on it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tumorbase.ingest.dicom_header import (
    DicomHeader,
    is_dicom,
    read_dataset,
    read_header,
    refuse_damage,
    study_datetime,
)
from tumorbase.ingest.item import Item, Plan, Rejected
from tumorbase.ingest.rtstruct import referenced_series
from tumorbase.store.errors import BadInput

IMAGE_MODALITIES = ("CT", "MR", "PT")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # screenshots and dose reports


@dataclass
class _Found:
    """What has been found so far: series by id, and files drawn on them by modality."""

    series: dict[str, list[DicomHeader]] = field(default_factory=dict)
    drawn: list[DicomHeader] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class _Named:
    """Patient and study by the names that a cohort folder gives them, None where it gives none."""

    patient_id: str | None
    study_id: str | None


def plan_dicom(
    paths: Sequence[Path], patient_id: str | None = None, study_id: str | None = None
) -> Plan:
    """One item "dicom_series" for each series; folders are searched through.

    Localizers, screenshots and other modalities are left out, and so is what is not DICOM unless it
    claims to be by its suffix or nothing else is there. An RTSTRUCT or SEG goes with the series it
    references. `files` of an item are its slices, then its RTSTRUCTs, then its SEGs, as many as
    `details` says. A series without a UID is named after the hash of its slices' UIDs; a study
    without one after its patient and date.

    Args:
        paths: files and folders.
        patient_id: takes the place of PatientID where a cohort folder fixes it.
        study_id: what the cohort folder calls the study, if all series are of a single one; by
            their UIDs, else their dates, several studies stay apart, each named as above.
    """
    found = _Found()
    for path in _files(paths):
        _sort_in(found, path)
    drawn = _drawn_on_series(found)
    named = _Named(patient_id, study_id if _is_one_study(found) else None)
    items = []
    for series_id, headers in sorted(found.series.items()):
        try:
            items.append(_item(series_id, headers, drawn.get(series_id, []), named))
        except BadInput as error:
            found.rejected.append(Rejected(error.path, error.reason))
    if not items and not found.rejected:
        reason = "no DICOM series of CT, MR or PT in it (localizers are left out)"
        found.rejected += [Rejected(str(path), reason) for path in paths]
    return Plan(tuple(items), tuple(found.rejected))


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (Path(folder, name) for name in sorted(names))
        else:
            yield path


def _sort_in(found: _Found, path: Path) -> None:
    claims_dicom = path.suffix.lower() in DICOM_SUFFIXES
    if not path.is_file():  # it may be a slice: to pass over it could hide a gap
        found.rejected.append(Rejected(str(path), "is a link to nothing, or no regular file"))
        return
    if not is_dicom(path):
        if claims_dicom:
            size = path.stat().st_size
            reason = "not DICOM: the DICM prefix is missing" if size else "the file is empty"
            found.rejected.append(Rejected(str(path), f"{reason} ({size} bytes)"))
        return
    try:
        header = read_header(path)
    except BadInput as error:
        found.rejected.append(Rejected(error.path, error.reason))
        return
    if header is None:
        return
    if header.modality in ("RTSTRUCT", "SEG"):
        found.drawn.append(header)
    elif header.modality in IMAGE_MODALITIES and not _is_extra(header):
        found.series.setdefault(_series_key(header), []).append(header)


def _is_one_study(found: _Found) -> bool:
    headers = [header for headers in found.series.values() for header in headers]
    stated = {header.study_id or header.study_date for header in headers} - {""}
    return len(stated) <= 1


def _is_extra(header: DicomHeader) -> bool:
    return "LOCALIZER" in header.image_type or header.sop_class.startswith(_SECONDARY_CAPTURE)


def _series_key(header: DicomHeader) -> str:
    """SeriesInstanceUID; where anonymisation emptied it, the folder holds one series."""
    return header.series_id or str(Path(header.path).parent)


def _drawn_on_series(found: _Found) -> dict[str, list[DicomHeader]]:
    """RTSTRUCTs and SEGs by the series they reference, or whose frame of reference they share."""
    by_frame: dict[str, list[str]] = {}
    for series_id, headers in found.series.items():
        by_frame.setdefault(headers[0].frame_of_reference, []).append(series_id)
    drawn: dict[str, list[DicomHeader]] = {}
    for header in found.drawn:
        try:
            series, frames = _references(header)
        except BadInput as error:
            found.rejected.append(Rejected(error.path, error.reason))
            continue
        here = sorted(series & set(found.series))
        if not here and not series:
            here = [
                only[0] for only in map(by_frame.get, sorted(frames)) if only and len(only) == 1
            ]
        if not here:
            reason = f"{header.modality} on a series that is not here: {', '.join(sorted(series))}"
            found.rejected.append(Rejected(header.path, reason))
        for series_id in here:
            drawn.setdefault(series_id, []).append(header)
    return drawn


def _references(header: DicomHeader) -> tuple[set[str], set[str]]:
    """SeriesInstanceUIDs and FrameOfReferenceUIDs on which the file was drawn."""
    dataset = read_dataset(header.path, pixels=False)
    with refuse_damage(header.path):
        if header.modality == "RTSTRUCT":
            return referenced_series(dataset)
        series = {str(one.SeriesInstanceUID) for one in dataset.get("ReferencedSeriesSequence", [])}
        return series, {header.frame_of_reference}


def _item(
    key: str,
    headers: Sequence[DicomHeader],
    drawn: Sequence[DicomHeader],
    named: _Named,
) -> Item:
    headers = sorted(headers, key=lambda header: header.path)
    first = headers[0]
    folder = os.path.commonpath([str(Path(header.path).parent) for header in headers])
    series_id = first.series_id or _hashed(headers)
    patients = {header.patient_id for header in headers}
    if named.patient_id is None and len(patients) > 1:
        raise BadInput(folder, f"series {series_id}: two series of one UID, of several patients")
    if len({(header.modality, header.study_id) for header in headers}) > 1:
        reason = "two series of one UID, of several modalities or studies"
        raise BadInput(folder, f"series {series_id}: {reason}")
    patient_id = named.patient_id or first.patient_id
    if not patient_id:
        raise BadInput(folder, f"series {series_id}: PatientID is empty, expected one")
    try:
        times = [time for time in map(study_datetime, headers) if time]
    except ValueError as error:
        raise BadInput(folder, f"series {series_id}: {error}") from error
    time = min(times, default=None)
    own_study_id = first.study_id or f"{patient_id}/{time.date() if time else series_id}"
    rtstructs = [header.path for header in drawn if header.modality == "RTSTRUCT"]
    segs = [header.path for header in drawn if header.modality == "SEG"]
    return Item(
        kind="dicom_series",
        key=f"series:{series_id}",
        path=folder,
        files=(*(header.path for header in headers), *rtstructs, *segs),
        patient_id=patient_id,
        details={
            "series_id": series_id,
            "study_id": named.study_id or own_study_id,
            "study_time": time.isoformat() if time else None,
            "modality": first.modality,
            "slices": len(headers),
            "rtstructs": len(rtstructs),
            "segs": len(segs),
        },
    )


def _hashed(headers: Sequence[DicomHeader]) -> str:
    uids = "\n".join(sorted({header.sop_instance for header in headers}))
    return hashlib.sha256(uids.encode()).hexdigest()[:32]
