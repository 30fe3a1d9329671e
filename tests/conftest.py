"""Fixtures of all tests."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and reference numbers: `$TUMORBASE_SHARED`, else `shared` beside the checkout."""
    folder = Path(os.environ.get("TUMORBASE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "README.md").is_file():
        pytest.skip(f"real test data not found at {folder}; set TUMORBASE_SHARED")
    return folder


@pytest.fixture
def small_cohort(tmp_path: Path) -> Path:
    """A cohort folder of every kind but nuclei and features, ingested within seconds.

    PAT0 to PAT3: three have two CTs of two lesions each and the fourth three lesions of which only
    the axes are known, two have a tile as their slide, all have genomics, outcome and diagnosis.
    """
    folder = tmp_path / "small_cohort"
    random = np.random.default_rng(0)
    patients = [f"PAT{number}" for number in range(4)]
    studies = [[p, f"{p}-S{s}", f"202{s}-01-01"] for p in patients[:3] for s in (0, 1)]
    rows = [[p, 50 + index, "FM"[index % 2]] for index, p in enumerate(patients)]
    _write_table(folder / "patients.csv", ["patient_id", "age", "sex"], rows)
    rows = [[p, "OS", 100 + index, index % 2] for index, p in enumerate(patients)]
    _write_table(folder / "outcomes.csv", ["patient_id", "endpoint", "time_days", "event"], rows)
    _write_table(folder / "studies.csv", ["patient_id", "study_id", "study_date"], studies)
    rows = [[p, "C34.1", "2020-01-01"] for p in patients]
    _write_table(folder / "diagnoses.csv", ["patient_id", "icd10cm", "date"], rows)
    columns = "lesion_id patient_id study_id study_date x_mm y_mm z_mm long_axis_mm short_axis_mm"
    rows = [[f"PAT3-L{k}", "PAT3", "S9", "2020-02-02", 9 * k, 4, 5, 20 - k, 9] for k in range(3)]
    _write_table(folder / "lesions.csv", columns.split(), rows)
    genes = [f"G{gene}_rnaseq" for gene in range(12)]
    rows = [[p, *random.normal(size=12).round(4)] for p in patients]
    _write_table(folder / "genomics" / "rna.csv", ["patient_id", *genes], rows)
    for patient, study, _ in studies:
        write_ct(folder / "radiology" / patient / study, random)
    for patient in patients[:2]:
        write_tile(folder / "pathology" / "slides" / f"{patient}.png", random)
    return folder


def _write_table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([columns, *rows])


def write_ct(folder: Path, random: np.random.Generator) -> None:
    """CT_img.nii.gz of noise with two bright balls, and label.nii.gz of the balls."""
    folder.mkdir(parents=True, exist_ok=True)
    z, y, x = np.mgrid[:20, :40, :40]
    image, mask = random.normal(40, 15, z.shape), np.zeros(z.shape, np.uint8)
    for lesion in range(2):
        square = (1.5 * (z - 6 - 8 * lesion)) ** 2 + (y - 12 - 14 * lesion) ** 2 + (x - 20) ** 2
        mask[square <= (5 + 2 * random.random()) ** 2] = 1
    image[mask > 0] += 80
    affine = np.diag([-1.5, -1.5, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(image.astype(np.int16).T, affine), folder / "CT_img.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask.T, affine), folder / "label.nii.gz")


def write_tile(file: Path, random: np.random.Generator) -> None:
    """A pink tile of 512 px with sixty violet discs for nuclei."""
    file.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:512, :512]
    pixels = np.full((512, 512, 3), [225, 170, 200]) + random.normal(0, 6, (512, 512, 3))
    for centre_y, centre_x in random.integers(20, 490, (60, 2)):
        disc = (y - centre_y) ** 2 + (x - centre_x) ** 2 <= random.integers(5, 9) ** 2
        pixels[disc] = [90, 60, 140]
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
