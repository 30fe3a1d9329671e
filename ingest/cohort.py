"""The plan of a cohort folder: tables first, then radiology, pathology and genomics.

Every part is optional. Nothing outside the folder is read: a link that leads out of it is rejected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tumorbase.ingest.clinical import patient_ids
from tumorbase.ingest.csv_table import CsvTable, read_csv_table
from tumorbase.ingest.dicom_header import is_dicom
from tumorbase.ingest.dicom_tree import DICOM_SUFFIXES
from tumorbase.ingest.item import Context, Item, Plan, Rejected
from tumorbase.ingest.nifti_plan import NIFTI_SUFFIXES
from tumorbase.ingest.patient_names import patient_of_file
from tumorbase.ingest.readers import planner_of
from tumorbase.store.errors import BadInput

TABLES = {
    "patients.csv": "patients_table",
    "studies.csv": "studies_table",
    "outcomes.csv": "outcomes_table",
    "diagnoses.csv": "diagnoses_table",
    "lesions.csv": "lesions_table",
}
SIGNATURES = "signatures.csv"

SLIDE_SUFFIXES = (
    ".svs", ".ndpi", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".mrxs", ".scn", ".bif", ".vms",
    ".vmu", ".svslide", ".czi", ".dcm",
)  # fmt: skip
FEATURE_SUFFIXES = (".h5", ".hdf5", ".pt")
NUCLEI_SUFFIXES = (".json",)
# Where pathology files lie: folder -> source, suffixes, what to say of another file.
PATHOLOGY = {
    "slides": ("slides", SLIDE_SUFFIXES),
    "features": ("features", FEATURE_SUFFIXES),
    "nuclei": ("nuclei", NUCLEI_SUFFIXES),
}
MASKS = {"label": "primary", "node": "node"}  # stem of the mask file -> region


@dataclass
class _Listing:
    """What has been found so far in the folder `root`, a resolved path."""

    root: Path
    items: list[Item]
    rejected: list[Rejected]

    def take(self, plan: Plan) -> None:
        self.items.extend(plan.items)
        self.rejected.extend(plan.rejected)

    def reject(self, path: Path, reason: str) -> None:
        self.rejected.append(Rejected(str(path), reason))


@dataclass(frozen=True)
class _Study:
    """A study of the folder; named by its own folder, else by studies.csv, or by neither."""

    patient_id: str
    study_id: str | None


def plan_cohort(folder: Path, context: Context) -> tuple[Plan, Context]:
    """What the cohort folder holds, and the context that knows the patients of its patients.csv.

    Where there is no readable patients.csv, the context's known patients stay as they are. One of
    the folder's tables may stand for the folder.
    """
    if not folder.is_dir():
        return _plan_one_table(folder, context)
    listing = _Listing(folder.resolve(), [], [])
    tables = dict(_tables(listing))
    patients = _known_patients(tables)
    _plan_radiology(listing, _single_studies(tables))
    everyone = patients | (context.known_patients or frozenset())
    _plan_pathology(listing, lambda name: patient_of_file(name, everyone))
    _plan_genomics(listing)
    if patients:
        context = replace(context, known_patients=everyone)
    return Plan(tuple(listing.items), tuple(listing.rejected)), context


def _plan_one_table(path: Path, context: Context) -> tuple[Plan, Context]:
    if path.name not in TABLES:
        reason = f"expected a cohort folder or one of {', '.join(TABLES)}"
        return Plan((), (Rejected(str(path), reason),)), context
    path = path.resolve()
    return Plan((table_item(TABLES[path.name], path, path.parent),)), context


def table_item(kind: str, path: Path, root: Path, extra_files: Iterable[Path] = ()) -> Item:
    """A table as one item. Its key has the folder's name, so that two cohorts do not take each
    other's place, and not the whole path, so that a moved folder is still the same.
    """
    key = f"table:{root.name}/{path.relative_to(root).as_posix()}"
    files = (str(path), *(str(file) for file in extra_files))
    return Item(kind, key, str(path), files)


def _tables(listing: _Listing) -> Iterator[tuple[str, CsvTable]]:
    """List the tables as items; yield those that can be read, for what the plan needs of them."""
    for name, kind in TABLES.items():
        path = listing.root / name
        if not _is_inside(listing, path):
            continue
        listing.items.append(table_item(kind, path, listing.root))
        if name in ("patients.csv", "studies.csv"):
            try:
                yield name, read_csv_table(str(path))
            except BadInput:
                continue  # its reader meets the same error and quarantines the item


def _known_patients(tables: dict[str, CsvTable]) -> frozenset[str]:
    try:
        return patient_ids(tables["patients.csv"])
    except (KeyError, BadInput):
        return frozenset()


def _single_studies(tables: dict[str, CsvTable]) -> dict[str, str]:
    """The study of each patient who has exactly one in studies.csv."""
    table = tables.get("studies.csv")
    if table is None or not {"patient_id", "study_id"} <= set(table.names):
        return {}
    studies: dict[str, set[str]] = {}
    columns = (table.column(name).to_pylist() for name in ("patient_id", "study_id"))
    for patient, study in zip(*columns, strict=True):
        studies.setdefault(patient, set()).add(study)
    return {patient: min(found) for patient, found in studies.items() if len(found) == 1}


def _plan_radiology(listing: _Listing, single_studies: dict[str, str]) -> None:
    for patient in _entries(listing, listing.root / "radiology"):
        if not patient.is_dir():
            listing.reject(patient, "expected a folder radiology/PATIENT/[STUDY/], got a file")
            continue
        images = []
        for entry in _entries(listing, patient):
            if entry.is_dir():
                _plan_study(listing, _Study(patient.name, entry.name), list(_files(listing, entry)))
            else:
                images.append(entry)
        if images:
            study = _Study(patient.name, single_studies.get(patient.name))
            _plan_study(listing, study, images)


def _plan_study(listing: _Listing, study: _Study, files: list[Path]) -> None:
    """Plan one study's files: NIfTI by their fixed names, and DICOM; notes beside them are left."""
    nifti = [path for path in files if path.name.lower().endswith(NIFTI_SUFFIXES)]
    others = [path for path in files if path not in nifti]
    dicom = [path for path in others if path.suffix.lower() in DICOM_SUFFIXES or is_dicom(path)]
    image, masks = _named_nifti(listing, nifti)
    series = planner_of("dicom")(dicom, study.patient_id, study.study_id) if dicom else Plan(())
    if image is not None:
        listing.items.append(_nifti_item(study, image, masks))
    elif masks:
        series = _drawn_on(listing, series, masks)
    listing.take(series)
    if not dicom and not nifti:
        for path in others:
            listing.reject(path, "expected CT_img.nii.gz or DICOM files in the folder of a study")


def _named_nifti(listing: _Listing, files: list[Path]) -> tuple[Path | None, dict[str, Path]]:
    """The image and its masks by region; other names, and a second of one, are rejected."""
    by_stem: dict[str, Path] = {}
    for path in files:
        stem = path.name.partition(".")[0]
        if stem not in ("CT_img", *MASKS):
            listing.reject(path, "expected CT_img, label or node as the name of a NIfTI file")
        elif by_stem.setdefault(stem, path) != path:
            listing.reject(path, f"a second {stem} in one study, beside {by_stem[stem].name}")
    image = by_stem.pop("CT_img", None)
    return image, {MASKS[stem]: path for stem, path in by_stem.items()}


def _nifti_item(study: _Study, image: Path, masks: dict[str, Path]) -> Item:
    """Where nothing names the study, it is called as the patient."""
    study_id = study.study_id or study.patient_id
    details = {
        "study_id": study_id,
        "masks": {region: str(path) for region, path in masks.items()},
        "modality": "CT",
    }
    key = f"series:{study.patient_id}/{study_id}"
    paths = tuple(str(path) for path in (image, *masks.values()))
    return Item("ct_nifti", key, str(image), paths, study.patient_id, details)


def _drawn_on(listing: _Listing, series: Plan, masks: dict[str, Path]) -> Plan:
    """The plan of DICOM series with the NIfTI masks beside them, which are of a single series."""
    if len(series.items) != 1:
        reason = (
            "expected a CT_img.nii.gz beside the mask, or DICOM files of one series, "
            f"got {len(series.items)} series"
        )
        for path in masks.values():
            listing.reject(path, reason)
        return series
    (item,) = series.items
    paths = {region: str(path) for region, path in masks.items()}
    item = replace(
        item, files=(*item.files, *paths.values()), details={**item.details, "masks": paths}
    )
    return replace(series, items=(item,))


def _plan_pathology(listing: _Listing, patient_of: Callable[[str], str]) -> None:
    for name, (source, suffixes) in PATHOLOGY.items():
        folder = listing.root / "pathology" / name
        files = [
            path
            for path in _files(listing, folder)
            if not _is_mrxs_part(path) and _is_expected(listing, path, suffixes)
        ]
        if files:
            listing.take(planner_of(source)(files, patient_of))


def _is_mrxs_part(path: Path) -> bool:
    """Whether the file lies in the folder that goes with a .mrxs file beside that folder."""
    return path.parent.with_name(f"{path.parent.name}.mrxs").is_file()


def _plan_genomics(listing: _Listing) -> None:
    folder = listing.root / "genomics"
    tables = [path for path in _files(listing, folder) if _is_expected(listing, path, (".csv",))]
    signatures = [path for path in tables if path.name == SIGNATURES and path.parent == folder]
    for path in tables:
        if path not in signatures:
            item = table_item("genomics_table", path, listing.root, signatures)
            listing.items.append(replace(item, details={"has_signatures": bool(signatures)}))


def _is_expected(listing: _Listing, path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the file has one of the suffixes and any content; rejected where not."""
    if path.suffix.lower() not in suffixes and not (suffixes is SLIDE_SUFFIXES and is_dicom(path)):
        listing.reject(
            path, f"wrong suffix: expected {', '.join(suffixes)}, got {path.suffix or 'none'!r}"
        )
        return False
    if path.stat().st_size == 0:
        listing.reject(path, "the file is empty (0 bytes)")
        return False
    return True


def _entries(listing: _Listing, folder: Path) -> list[Path]:
    """What lies in the folder, by name, without hidden files and what leaves the cohort folder."""
    if not folder.is_dir() or not _is_inside(listing, folder):
        return []
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return [folder / name for name in names if _is_inside(listing, folder / name)]


def _files(listing: _Listing, folder: Path) -> Iterator[Path]:
    """All files below the folder, by name; linked folders are not entered."""
    for entry in _entries(listing, folder):
        if not entry.is_dir():
            yield entry
        elif entry.is_symlink():
            listing.reject(entry, "expected a folder, got a link to one")
        else:
            yield from _files(listing, entry)


def _is_inside(listing: _Listing, path: Path) -> bool:
    """Whether the path exists and lies in the cohort folder; rejected if a link leads elsewhere."""
    if not os.path.lexists(path):
        return False
    if not Path(os.path.realpath(path)).is_relative_to(listing.root):
        listing.reject(path, "leaves the cohort folder by a link")
        return False
    if not path.exists():
        listing.reject(path, "is a link to nothing")
        return False
    return True
