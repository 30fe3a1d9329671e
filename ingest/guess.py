"""Which source a path is, where the user does not say."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tumorbase.ingest.cohort import FEATURE_SUFFIXES, PATHOLOGY, SLIDE_SUFFIXES, TABLES
from tumorbase.ingest.csv_table import read_header
from tumorbase.ingest.source_files import files_below
from tumorbase.ingest.tcga import DAMAGED_ZIP

_DICOM_MAGIC_AT = 128
_NUCLEI_KEYS = (b'"nuc"', b'"cells"')  # HoVer-Net; CellViT
_PEEK_BYTES = 65_536


def guess_sources(path: Path) -> dict[str, list[Path]]:
    """The sources that `path` holds and what to plan of each.

    A folder is a cohort if it has one of the cohort's tables or folders: {"cohort": [path]}.
    Otherwise each of its files is looked at, and those that no source knows are left out: files by
    source, empty if nothing is known.
    """
    if path.is_dir() and _is_cohort(path):
        return {"cohort": [path]}
    found: dict[str, list[Path]] = {}
    for file in files_below([path]):
        source = guess_file(file)
        if source:
            found.setdefault(source, []).append(file)
    if "deeplesion" in found:
        found.pop("slides", None)  # DeepLesion's own pictures are CT
    return found


def guess_file(path: Path) -> str | None:
    """The source of one file, by its name and its first bytes; None if no source knows it."""
    name = path.name.lower()
    if name.endswith((".csv", ".csv.zip")):
        return _guess_table(path)
    if name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if name.endswith(FEATURE_SUFFIXES):
        return "features"
    if name.endswith(".json"):
        return "nuclei" if any(key in _head(path) for key in _NUCLEI_KEYS) else None
    if name.endswith(".tru") or (name.endswith(".jpg") and path.with_suffix(".tru").exists()):
        return "deeplesion"
    if _is_dicom(path):
        return "slides" if _is_slide_dicom(path) else "dicom"
    if name.endswith(".dcm"):
        return "dicom"  # its planner says what is wrong with it
    return "slides" if name.endswith(SLIDE_SUFFIXES) else None


def _is_cohort(folder: Path) -> bool:
    parts = (*TABLES, "radiology", *(f"pathology/{name}" for name in PATHOLOGY))
    if any((folder / part).exists() for part in parts):
        return True
    # Other collections have a folder "genomics" too; a cohort's tables lie right in it.
    return any((folder / "genomics").glob("*.csv"))


def _guess_table(path: Path) -> str | None:
    if path.name in TABLES:
        return "cohort"
    if path.name.startswith("splits_"):
        return None  # folds are named when training
    try:
        header = set(_zipped_header(path) if path.name.endswith(".zip") else read_header(path))
    except DAMAGED_ZIP:
        return "tcga"  # only its tables come zipped; its reader says what is wrong
    if {"File_name", "Key_slice_index"} <= header or {"Volume_fn", "centroid_z"} <= header:
        return "deeplesion"
    if "featureName" in header or any(name.startswith("original_") for name in header):
        return "pyradiomics"
    if {"case_id", "slide_id"} <= header or {"PatientID", "deadstatus.event"} <= header:
        return "tcga"
    if "case_id" in header and header & {"stage", "grade", "subtype"}:
        return "tcga"
    return "tcga" if path.name.endswith("rna_clean.csv") else None


def _zipped_header(path: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if not members:
            return ()
        with archive.open(members[0]) as member:
            first_line = member.readline().decode("utf-8", errors="replace")
    return tuple(name.strip() for name in first_line.split(","))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PEEK_BYTES)
    except OSError:
        return b""


def _is_dicom(path: Path) -> bool:
    return _head(path)[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == b"DICM"


def _is_slide_dicom(path: Path) -> bool:
    """Whether a DICOM file is of a whole-slide image: modality SM."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"])
    except (InvalidDicomError, OSError, EOFError, ValueError):
        return False
    return header.get("Modality", "") == "SM"
