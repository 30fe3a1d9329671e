"""A tree of DICOM files becomes one item a series, with what is drawn on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.uid import MediaStorageDirectoryStorage

from tumorbase.ingest.dicom_tree import plan_dicom

SERIES = "1.3.6.1.4.1.14519.5.2.1.5168.1900.672471348177659964935135533244"
STUDY = "1.3.6.1.4.1.14519.5.2.1.5168.1900.190311276211389538203367070477"


@pytest.fixture
def tree(shared: Path, tmp_path: Path) -> Path:
    """A copy of the real series of STS_002 (image/) and its RTSTRUCT (mask/RS.dcm)."""
    source = shared / "data" / "ct" / "sts" / "STS_002" / "dicom_CT"
    return Path(shutil.copytree(source, tmp_path / "dicom"))


@pytest.fixture
def anonymous(shared: Path) -> Path:
    """A real series whose patient, study and series UIDs were emptied."""
    return shared / "data" / "ct" / "totalsegmentator" / "example_ct_dicom"


def _set(path: Path, **attributes: object) -> None:
    with disable_value_validation():
        dataset = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


def test_a_series_is_one_item_with_the_rtstruct_drawn_on_it(tree: Path) -> None:
    (tree / "notes.txt").write_text("not DICOM, and does not claim to be")
    plan = plan_dicom([tree])
    (item,) = plan.items
    assert plan.rejected == ()
    assert (item.kind, item.key, item.patient_id) == ("dicom_series", f"series:{SERIES}", "STS_002")
    assert item.path == str(tree / "image")
    assert [Path(file).name for file in item.files[47:]] == ["000047.dcm", "RS.dcm"]
    assert item.details == {
        "series_id": SERIES,
        "study_id": STUDY,
        "study_time": "2006-01-28T14:54:27",
        "modality": "CT",
        "slices": 48,
        "rtstructs": 1,
        "segs": 0,
    }


def test_a_cohort_folder_fixes_the_patient(tree: Path, anonymous: Path) -> None:
    (item,) = plan_dicom([tree], patient_id="P1").items
    assert (item.patient_id, item.details["study_id"]) == ("P1", STUDY)
    (item,) = plan_dicom([anonymous], patient_id="P1").items
    assert (item.patient_id, item.details["study_id"]) == ("P1", "P1/2022-12-08")


def test_a_series_without_uid_is_named_after_its_slices(anonymous: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(anonymous, tmp_path / "moved")
    (here,) = plan_dicom([anonymous], patient_id="P1").items
    (there,) = plan_dicom([Path(moved)], patient_id="P1").items
    assert here.key == there.key
    assert len(here.files) == 20


def test_a_series_without_patient_is_rejected(anonymous: Path) -> None:
    plan = plan_dicom([anonymous])
    (refused,) = plan.rejected
    assert plan.items == ()
    assert refused.path == str(anonymous)
    assert "PatientID is empty" in refused.reason


def test_two_patients_under_one_series_uid_are_rejected_without_their_names(tree: Path) -> None:
    _set(tree / "image" / "000003.dcm", PatientID="Doe^Jane")
    (refused,) = [one for one in plan_dicom([tree]).rejected if one.path.endswith("image")]
    assert "of several patients" in refused.reason
    assert "Doe" not in refused.reason


def test_bad_files_are_rejected_by_name_and_the_series_stays(tree: Path) -> None:
    (tree / "empty.dcm").touch()
    (tree / "wrong.dcm").write_text("not DICOM, and claims to be" * 10)
    whole = (tree / "image" / "000003.dcm").read_bytes()
    (tree / "short.dcm").write_bytes(whole[:600])
    plan = plan_dicom([tree])
    reasons = {Path(refused.path).name: refused.reason for refused in plan.rejected}
    assert len(plan.items) == 1
    assert reasons.keys() == {"empty.dcm", "wrong.dcm", "short.dcm"}
    assert "empty" in reasons["empty.dcm"]
    assert "not DICOM" in reasons["wrong.dcm"]
    assert "truncated" in reasons["short.dcm"]


def test_a_study_date_that_is_no_date_is_rejected(tree: Path) -> None:
    for path in (tree / "image").iterdir():
        _set(path, StudyDate="20061301")
    (refused,) = plan_dicom([tree]).rejected
    assert "StudyDate must be YYYYMMDD" in refused.reason


def test_localizers_screenshots_and_reports_are_left_out(tree: Path) -> None:
    for number, attributes in enumerate(
        [
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            {"ImageType": "LOCALIZER"},
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
            {"Modality": "SR"},
        ]
    ):
        path = tree / f"other_{number}.dcm"
        shutil.copy(tree / "image" / "000003.dcm", path)
        _set(path, SeriesInstanceUID=f"1.2.3.{number}", **attributes)
    plan = plan_dicom([tree])
    assert len(plan.items) == 1
    assert plan.rejected == ()


def test_a_dicomdir_is_left_out(tree: Path) -> None:
    dataset = pydicom.dcmread(tree / "image" / "000003.dcm", stop_before_pixels=True)
    del dataset.Modality, dataset.SeriesInstanceUID
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.save_as(tree / "DICOMDIR")
    assert plan_dicom([tree]).rejected == ()


def test_an_rtstruct_without_its_series_is_rejected(tree: Path) -> None:
    shutil.rmtree(tree / "image")
    plan = plan_dicom([tree])
    (refused,) = plan.rejected
    assert refused.path.endswith("RS.dcm")
    assert f"on a series that is not here: {SERIES}" in refused.reason


def test_a_folder_without_dicom_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    (refused,) = plan_dicom([tmp_path]).rejected
    assert refused.path == str(tmp_path)
    assert "no DICOM series" in refused.reason


@pytest.mark.parametrize("attribute", ["Modality", "StudyInstanceUID"])
def test_a_series_of_two_modalities_or_studies_is_rejected(tree: Path, attribute: str) -> None:
    _set(tree / "image" / "000010.dcm", **{attribute: {"Modality": "MR"}.get(attribute, "1.2.3")})
    plan = plan_dicom([tree])
    assert plan.items == ()
    assert any("of several modalities or studies" in one.reason for one in plan.rejected)


def test_a_link_to_nothing_is_rejected_and_the_series_planned(tree: Path) -> None:
    (tree / "image" / "lost").symlink_to(tree / "nowhere")
    plan = plan_dicom([tree])
    assert len(plan.items) == 1
    assert [one.path for one in plan.rejected] == [str(tree / "image" / "lost")]
