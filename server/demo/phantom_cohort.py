"""A phantom cohort folder: every part that a cohort can have, and the truth behind it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np

from tumorbase.server.demo.phantom_anatomy import build_anatomy
from tumorbase.server.demo.phantom_ct import lesions_of, scan_patient, write_scan
from tumorbase.server.demo.phantom_genomics import write_genomics
from tumorbase.server.demo.phantom_lesions import plan_lesions
from tumorbase.server.demo.phantom_patients import draw_patients, with_diagnoses
from tumorbase.server.demo.phantom_slide import draw_slide, write_hovernet, write_slide
from tumorbase.server.demo.phantom_truth import LesionTruth, PatientTruth, SlideTruth, Truth

_ORIENTATIONS = ("RAS", "LPS", "LAS")
# Every so-many-th patient: has a pen mark, has no genomics, has HoVer-Net nuclei beside the slide.
_PEN_EVERY, _NO_GENOMICS_EVERY, _NUCLEI_EVERY = 5, 9, 2


def write_phantom_cohort(folder: Path, seed: int = 0, patients: int = 24) -> Truth:
    """Write a cohort folder as the cohort source reads it, and return what was planted.

    The same seed and number of patients give the same bytes. There are three subtypes, 2 or 3 CT
    studies a patient, at least one split and one merge of lesions, a slide each, HoVer-Net nuclei
    for every second patient, and genomics for most.

    Raises:
        ValueError: fewer than 6 patients, too few for a split, a merge and three subtypes.
    """
    if patients < 6:
        raise ValueError(f"a phantom cohort has at least 6 patients, got {patients}")
    cohort = draw_patients(np.random.default_rng([seed, 0]), patients)
    specials = _choose_specials(cohort)

    def write(index: int) -> tuple[PatientTruth, list[LesionTruth], SlideTruth]:
        patient = cohort[index]
        special = specials.get(patient.patient_id, "")
        lesions = _write_radiology(folder, seed, index, patient, special)
        slide = _write_pathology(folder, seed, index, patient)
        return with_diagnoses(patient, lesions), lesions, slide

    # Threads suffice: numpy, scipy and zlib let go of the interpreter's lock while they work.
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        written = list(workers.map(write, range(patients)))
    cohort = [patient for patient, _, _ in written]
    profiled = [p for index, p in enumerate(cohort) if index % _NO_GENOMICS_EVERY != 5]
    write_genomics(np.random.default_rng([seed, 1]), folder / "genomics", profiled)
    _write_tables(folder, cohort)
    return Truth(
        seed=seed,
        patients=tuple(cohort),
        lesions=tuple(lesion for _, lesions, _ in written for lesion in lesions),
        slides=tuple(slide for _, _, slide in written),
    )


def _choose_specials(cohort: Sequence[PatientTruth]) -> dict[str, str]:
    """The patients in whom lesions split (lowest risk) and merge (highest), by their id."""
    by_risk = sorted(cohort, key=lambda patient: patient.risk)
    split = {patient.patient_id: "split" for patient in by_risk[:2]}
    return split | {patient.patient_id: "merge" for patient in by_risk[-2:]}


def _write_radiology(
    folder: Path, seed: int, index: int, patient: PatientTruth, special: str
) -> list[LesionTruth]:
    rng = np.random.default_rng([seed, 2, index])
    anatomy = build_anatomy(rng)
    lobes = plan_lesions(rng, patient, anatomy, special)
    scans = [scan_patient(rng, anatomy, lobes, study) for study in range(len(patient.study_days))]
    for study, scan in enumerate(scans):
        axcodes = _ORIENTATIONS[(index + study) % len(_ORIENTATIONS)]
        study_folder = folder / "radiology" / patient.patient_id / patient.study_id(study)
        write_scan(study_folder, scan, lobes, axcodes)
    return lesions_of(patient, lobes, scans)


def _write_pathology(folder: Path, seed: int, index: int, patient: PatientTruth) -> SlideTruth:
    pathology = folder / "pathology"
    (pathology / "slides").mkdir(parents=True, exist_ok=True)
    (pathology / "nuclei").mkdir(exist_ok=True)
    rng = np.random.default_rng([seed, 3, index])
    slide = draw_slide(rng, patient, has_pen_mark=index % _PEN_EVERY == 0)
    write_slide(pathology / "slides" / f"{patient.patient_id}.tif", slide.rgb)
    if index % _NUCLEI_EVERY == 0:
        write_hovernet(pathology / "nuclei" / f"{patient.patient_id}.json", slide.truth)
    return slide.truth


def _write_tables(folder: Path, cohort: Sequence[PatientTruth]) -> None:
    _write_csv(
        folder / "patients.csv",
        ("patient_id", "sex", "age", "stage"),
        ((p.patient_id, p.sex, p.age, p.stage) for p in cohort),
    )
    _write_csv(
        folder / "outcomes.csv",
        ("patient_id", "endpoint", "time_days", "event"),
        ((p.patient_id, "OS", p.time_days, int(p.is_event)) for p in cohort),
    )
    _write_csv(
        folder / "studies.csv",
        ("patient_id", "study_id", "study_date"),
        (
            (p.patient_id, p.study_id(index), (p.baseline + timedelta(days=day)).isoformat())
            for p in cohort
            for index, day in enumerate(p.study_days)
        ),
    )
    _write_csv(
        folder / "diagnoses.csv",
        ("patient_id", "icd10cm", "date"),
        ((p.patient_id, code, p.baseline.isoformat()) for p in cohort for code in p.icd10cm),
    )


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
