"""PET in Bq/ml becomes SUV by body weight, or says what keeps it from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.dicom_tree import plan_dicom
from tumorbase.ingest.drawn_scan import read_scan
from tumorbase.ingest.item import Context
from tumorbase.ingest.radiology import read_dicom_series
from tumorbase.ingest.suv import suv_scale
from tumorbase.store.errors import BadInput

HALF_LIFE_S = 6586.2  # of F-18
# 75 kg and 300 MBq, of which an hour before the scan leaves two thirds.
SCALE = 75_000 / (300e6 * 0.5 ** (3600 / HALF_LIFE_S))


def as_pet(dataset: Dataset) -> None:
    """A slice of FDG PET, given at 9:30 and taken from 10:30 on."""
    given = Dataset()
    given.RadionuclideTotalDose, given.RadionuclideHalfLife = "300000000", str(HALF_LIFE_S)
    given.RadiopharmaceuticalStartTime = "093000.00"
    dataset.RadiopharmaceuticalInformationSequence = [given]
    dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "START"
    dataset.CorrectedImage, dataset.PatientWeight = ["DECY", "ATTN", "SCAT"], "75"
    dataset.SeriesDate = dataset.AcquisitionDate = "20200102"
    dataset.SeriesTime, dataset.AcquisitionTime = "103000", "103200"


@pytest.fixture
def pet(shared: Path, tmp_path: Path) -> Path:
    """The real series of STS_002 and its RTSTRUCT, as if it were a PET."""
    source = shared / "data" / "ct" / "sts" / "STS_002" / "dicom_CT"
    folder = Path(shutil.copytree(source, tmp_path / "pet"))
    change(folder, as_pet)
    return folder


def change(folder: Path, how: Callable[[Dataset], None]) -> list[str]:
    paths = sorted((folder / "image").iterdir())
    for path in paths:
        dataset = pydicom.dcmread(path)
        how(dataset)
        dataset.save_as(path)
    return [str(path) for path in paths]


@pytest.fixture
def one(pet: Path) -> Path:
    """Only two slices of it."""
    for path in sorted((pet / "image").iterdir())[2:]:
        path.unlink()
    return pet


def given(dataset: Dataset) -> Dataset:
    return dataset.RadiopharmaceuticalInformationSequence[0]


def _processed_later(dataset: Dataset) -> None:
    dataset.SeriesTime, dataset.AcquisitionTime = "180000", "103000"


def _given_by_date(dataset: Dataset) -> None:
    given(dataset).RadiopharmaceuticalStartDateTime = "20200102093000.00"
    given(dataset).RadiopharmaceuticalStartTime = "000000"


def _over_midnight(dataset: Dataset) -> None:
    dataset.SeriesTime = dataset.AcquisitionTime = "001500"
    given(dataset).RadiopharmaceuticalStartTime = "231500"


@pytest.mark.parametrize("how", [lambda _: None, _processed_later, _given_by_date, _over_midnight])
def test_activity_is_related_to_what_is_left_of_the_dose(one: Path, how) -> None:
    assert suv_scale(change(one, how)) == pytest.approx(SCALE)


def _to_injection(dataset: Dataset) -> None:
    dataset.DecayCorrection = "ADMIN"


def _in_suv(dataset: Dataset) -> None:
    dataset.Units = "GML"


def test_what_is_corrected_to_the_injection_or_in_suv_needs_no_decay(one: Path) -> None:
    assert suv_scale(change(one, _to_injection)) == pytest.approx(75_000 / 300e6)
    assert suv_scale(change(one, _in_suv)) == 1.0


@pytest.mark.parametrize("injected", ["20200102113000", "20140102093000"])
def test_dates_that_do_not_fit_are_refused(one: Path, injected: str) -> None:
    def change_date(dataset: Dataset) -> None:
        given(dataset).RadiopharmaceuticalStartDateTime = injected

    with pytest.raises(BadInput, match=r"tracer given at .* for a scan at 2020-01-02 10:30:00"):
        suv_scale(change(one, change_date))


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("PatientWeight", None, "PatientWeight must be positive, got None"),
        ("Units", "CNTS", "Units must be BQML, or GML of type BW, got CNTS"),
        ("SUVType", "LBM", ""),
        ("DecayCorrection", "NONE", "DecayCorrection must be START or ADMIN"),
        ("CorrectedImage", ["DECY", "SCAT"], "must hold ATTN and DECY, ATTN is missing"),
        ("RadiopharmaceuticalInformationSequence", [], "RadionuclideTotalDose must be positive"),
    ],
)
def test_what_cannot_be_computed_says_why(one: Path, keyword: str, value, reason: str) -> None:
    paths = change(one, lambda dataset: setattr(dataset, keyword, value))
    if reason:
        with pytest.raises(BadInput, match=reason):
            suv_scale(paths)
        return
    assert suv_scale(paths) == pytest.approx(SCALE)  # the type is that of GML alone
    with pytest.raises(BadInput, match="got GML of type LBM"):
        suv_scale(change(one, _in_suv))


def test_lesions_are_encoded_by_suv_and_only_measured_without_it(pet: Path, tmp_path: Path) -> None:
    context = Context(tmp_path / "staging")
    context.staging.mkdir()
    (item,) = plan_dicom([pet]).items
    stored = read_series(item.path, "series", item.files[:48]).volume
    rows = read_dicom_series(item, context)
    assert rows.rejected == []
    assert {one.spec.name for one in rows.vectors} == {"radiomics-pt", "measurement"}

    np.testing.assert_allclose(read_scan(item).volume.voxels, stored.voxels * np.float32(SCALE))
    change(pet, lambda dataset: delattr(dataset, "PatientWeight"))
    rows = read_dicom_series(item, context)
    assert {one.spec.name for one in rows.vectors} == {"measurement"}
    assert rows.tables["lesion"].num_rows == 1
    (refused,) = rows.rejected
    assert refused.reason.startswith("PET not in SUV, its lesions are not encoded by uptake: ")
