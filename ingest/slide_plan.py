"""Which files are one slide: each file, one DICOM series, or an MRXS file with its folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from tumorbase.ingest.cohort import SLIDE_SUFFIXES
from tumorbase.ingest.imported_nuclei import slide_key
from tumorbase.ingest.item import Item, Plan, Rejected
from tumorbase.store.errors import BadInput

_DICOM_MAGIC_AT = 128
_SLIDES_FOLDER = "slides"


def plan_slides(paths: Sequence[Path], patient_of: Callable[[str], str]) -> Plan:
    """Items of kind "slide", one a slide, in the order of the paths.

    The slide's id is the file's stem, of a DICOM series its SeriesInstanceUID. Two files of one id
    are two items of one key: the pipeline takes the first.

    Args:
        paths: files, or folders whose files are all slides.
        patient_of: the patient of a file or folder, by its name. A DICOM series of several files is
            named by its folder where it alone lies there, unless that folder is called "slides".
    """
    rejected: list[Rejected] = []
    slides: list[tuple[str, list[Path]]] = []
    series: dict[str, list[Path]] = {}
    for path in _slide_files(paths, rejected):
        if not _is_dicom(path):
            slides.append((path.stem, [path, *_companions(path)]))
            continue
        try:
            uid = _series_uid(path)
        except BadInput as error:
            rejected.append(Rejected(error.path, error.reason))
            continue
        if uid not in series:
            slides.append((uid, series.setdefault(uid, [])))
        series[uid].append(path)
    in_folder = Counter(file.parent for _, files in slides for file in files)
    items = []
    for slide_id, files in slides:
        names = tuple(map(str, files))
        patient_id = patient_of(_name(files, in_folder[files[0].parent]))
        key = slide_key(slide_id)
        items.append(Item("slide", key, names[0], names, patient_id, {"slide_id": slide_id}))
    return Plan(tuple(items), tuple(rejected))


def _name(files: list[Path], slide_files_in_folder: int) -> str:
    """The name by which a slide's patient is known."""
    folder = files[0].parent
    is_alone = 1 < len(files) == slide_files_in_folder and folder.name != _SLIDES_FOLDER
    return folder.name if is_alone else files[0].name


def _slide_files(paths: Sequence[Path], rejected: list[Rejected]) -> Iterator[Path]:
    """The files of `paths` that may be slides, by name; others are rejected."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            companions = {Path(name).stem for name in names if name.lower().endswith(".mrxs")}
            subfolders[:] = sorted(
                name for name in subfolders if name not in companions and name[0] != "."
            )
            for file in (Path(folder, name) for name in sorted(names) if name[0] != "."):
                if file.suffix.lower() in SLIDE_SUFFIXES or _is_dicom(file):
                    yield file
                else:
                    expected = ", ".join(SLIDE_SUFFIXES)
                    reason = f"wrong suffix: expected {expected}, got {file.suffix or 'none'!r}"
                    rejected.append(Rejected(str(file), reason))


def _companions(path: Path) -> list[Path]:
    """The files of an MRXS slide's folder, which lies beside it under its name."""
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return []
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_DICOM_MAGIC_AT + 4)[_DICOM_MAGIC_AT:] == b"DICM"
    except OSError:
        return False  # its reader meets the same error and says so


def _series_uid(path: Path) -> str:
    try:
        header = pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"], stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError) as error:
        raise BadInput(str(path), f"not a readable DICOM file: {error}") from error
    uid = str(header.get("SeriesInstanceUID", ""))
    if not uid:
        raise BadInput(str(path), "expected a SeriesInstanceUID, got none")
    return uid
