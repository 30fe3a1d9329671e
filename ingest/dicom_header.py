"""What a DICOM file says of itself before its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage

from tumorbase.store.errors import BadInput

_PREAMBLE_BYTES = 132  # 128 of anything, then DICM
_PLANNED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "Modality",
    "StudyDate",
    "StudyTime",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)
# pydicom reads elements when they are asked for, and has no one error for damaged ones.
_DAMAGE = (
    AttributeError,
    BytesLengthException,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    UserWarning,
    ValueError,
)
# Kept only if asked for (DICOM PS3.15 table E.1-1, those that name a person or lead to one).
IDENTIFYING = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "ReferringPhysicianName",
    "InstitutionName",
    "AccessionNumber",
)


@dataclass(frozen=True)
class DicomHeader:
    """The identifiers of one file as it spells them; empty where it leaves them empty."""

    path: str
    sop_class: str
    sop_instance: str
    modality: str
    image_type: tuple[str, ...]
    patient_id: str
    study_id: str
    series_id: str
    frame_of_reference: str
    study_date: str
    study_time: str


def is_dicom(path: Path) -> bool:
    """Whether the file carries the DICM prefix."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE_BYTES)[128:] == b"DICM"


def read_header(path: Path) -> DicomHeader | None:
    """Identifiers of the file; None for a DICOMDIR, which is an index of others.

    Raises:
        BadInput: the file ends within its header.
    """
    dataset = read_dataset(path, tags=_PLANNED, pixels=False)
    if "Modality" not in dataset or "SeriesInstanceUID" not in dataset:
        if _is_index(path, dataset):
            return None
        raise BadInput(str(path), "truncated DICOM: the file ends before its SeriesInstanceUID")
    with refuse_damage(path):
        return DicomHeader(
            path=str(path),
            sop_class=_text(dataset, "SOPClassUID"),
            sop_instance=sop_instance(dataset),
            modality=_text(dataset, "Modality"),
            image_type=_texts(dataset, "ImageType"),
            patient_id=_text(dataset, "PatientID"),
            study_id=_text(dataset, "StudyInstanceUID"),
            series_id=_text(dataset, "SeriesInstanceUID"),
            frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
            study_date=_text(dataset, "StudyDate"),
            study_time=_text(dataset, "StudyTime"),
        )


def _is_index(path: Path, dataset: Dataset) -> bool:
    with refuse_damage(path):
        stored = dataset.file_meta.get("MediaStorageSOPClassUID")
    return bool(stored == MediaStorageDirectoryStorage)


@contextmanager
def refuse_damage(path: str | Path) -> Iterator[None]:
    """Within, what pydicom raises on the damaged elements of a file is `BadInput` of `path`.

    Values that break only the length and spelling rules of DICOM pass.
    """
    try:
        with disable_value_validation():
            yield
    except _DAMAGE as error:
        raise BadInput(str(path), f"truncated or damaged DICOM: {error}") from error


def read_dataset(
    path: str | Path, tags: Sequence[str] | None = None, pixels: bool = True
) -> Dataset:
    """The file's dataset, only `tags` if given, with pixels or without.

    Raises:
        BadInput: not DICOM, or an element is cut short.
    """
    with refuse_damage(path), warnings.catch_warnings():
        # On compressed pixels that are cut short pydicom only warns, and returns an empty dataset.
        warnings.filterwarnings("error", message="End of file reached", category=UserWarning)
        try:
            return pydicom.dcmread(
                path,
                stop_before_pixels=not pixels,
                specific_tags=None if tags is None else list(tags),
            )
        except InvalidDicomError as error:
            raise BadInput(str(path), "not DICOM: the DICM prefix is missing") from error


def sop_instance(dataset: Dataset) -> str:
    """SOPInstanceUID, from the file's meta header where anonymisation emptied the dataset's."""
    meta = dataset.file_meta.get("MediaStorageSOPInstanceUID", "")
    return _text(dataset, "SOPInstanceUID") or str(meta)


def identity_facts(dataset: Dataset) -> dict[str, str]:
    """The identifying attributes that the file states, by DICOM keyword."""
    with refuse_damage(str(dataset.filename)):
        stated = {keyword: _text(dataset, keyword) for keyword in IDENTIFYING}
    return {keyword: text for keyword, text in stated.items() if text}


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an element; pydicom hands out a single one bare."""
    value = dataset.get(keyword) or ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def study_datetime(header: DicomHeader) -> datetime | None:
    """StudyDate with StudyTime, whose absent parts are 0; None without a date.

    Raises:
        ValueError: StudyDate or StudyTime is none.
    """
    # The oldest scanners wrote 2006.01.28 and 14:54:27.
    date, time = header.study_date.replace(".", ""), header.study_time.replace(":", "")
    if not date:
        return None
    try:
        return datetime.strptime(date + (time.split(".")[0] + "000000")[:6], "%Y%m%d%H%M%S")
    except ValueError as error:
        raise ValueError(
            f"StudyDate must be YYYYMMDD and StudyTime HHMMSS, got {date!r} and {time!r}"
        ) from error


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
