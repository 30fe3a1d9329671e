"""NIfTI files on the command line find their masks, patient and modality by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumorbase.ingest.nifti_plan import plan_nifti


def _touch(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_a_mask_goes_with_the_image_of_its_words(tmp_path: Path) -> None:
    _touch(tmp_path / "P1", "CT_image.nii.gz", "CT_mask.nii.gz", "PET_image.nii", "PET_mask.nii")
    plan = plan_nifti([tmp_path])
    assert plan.rejected == ()
    found = {Path(i.path).name: i for i in plan.items}
    assert found.keys() == {"CT_image.nii.gz", "PET_image.nii"}
    for name, item in found.items():
        assert Path(item.details["masks"]["primary"]).name == name.replace("image", "mask")
        assert item.files == (item.path, item.details["masks"]["primary"])
    assert found["PET_image.nii"].details["modality"] == "PT"


def test_a_mask_of_no_other_word_goes_with_every_image(tmp_path: Path) -> None:
    (image, *_) = _touch(tmp_path / "P1", "CT.nii.gz", "label.nii.gz", "node.nii.gz", "a_seg.nii")
    (item,) = plan_nifti([image]).items
    masks = {region: Path(path).name for region, path in item.details["masks"].items()}
    assert masks == {"primary": "label.nii.gz", "node": "node.nii.gz"}


@pytest.mark.parametrize(
    ("name", "patient", "study", "modality"),
    [
        ("CT.nii.gz", "P1", "CT", "CT"),
        ("MR_T1_image.nii", "P1", "MR_T1_image", "MR"),
        ("case-7.nii.gz", "case-7", "case-7", "CT"),
        ("pt_07_ct.nii.gz", "pt_07_ct", "pt_07_ct", "CT"),
        ("pt_07_t1.nii.gz", "pt_07_t1", "pt_07_t1", "MR"),
    ],
)
def test_the_patient_is_named_as_the_file_or_its_folder(
    tmp_path: Path, name: str, patient: str, study: str, modality: str
) -> None:
    (item,) = plan_nifti(_touch(tmp_path / "P1", name)).items
    assert (item.kind, item.key) == ("ct_nifti", f"series:{patient}/{study}")
    assert item.patient_id == patient
    assert item.details == {"study_id": study, "masks": {}, "modality": modality}


def test_a_mask_alone_is_rejected(tmp_path: Path) -> None:
    plan = plan_nifti(_touch(tmp_path / "P1", "CT_mask.nii.gz"))
    assert plan.items == ()
    assert "without its image" in plan.rejected[0].reason


def test_two_masks_of_one_region_are_rejected_with_their_image(tmp_path: Path) -> None:
    plan = plan_nifti([_touch(tmp_path / "P1", "CT.nii", "CT_mask.nii", "CT_label.nii")[0]])
    assert plan.items == ()
    assert "several masks of one region: CT_label.nii, CT_mask.nii" in plan.rejected[0].reason


def test_two_images_of_one_name_are_told_apart_or_rejected(tmp_path: Path) -> None:
    first = _touch(tmp_path / "a", "case.nii")
    second = _touch(tmp_path / "b", "case.nii")
    plan = plan_nifti(first + second)
    assert len(plan.items) == 1
    assert "same patient and study" in plan.rejected[0].reason
