"""An image with its masks becomes rows and vectors, the same from NIfTI and from DICOM."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pydicom
import pytest

from tumorbase.ingest.chosen_encoders import resolve_encoders
from tumorbase.ingest.dicom_tree import plan_dicom
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.lesion_vectors import body_box, cut
from tumorbase.ingest.mask_lesions import LabelMask, find_lesions
from tumorbase.ingest.nifti_plan import plan_nifti
from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.ingest.radiology import read_ct_nifti, read_dicom_series
from tumorbase.ingest.volume import Grid, Volume
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA, VECTOR_ROWS
from tumorbase.store.store import Store


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """The settings of a run, with a staging folder."""
    staging = tmp_path / "staging"
    staging.mkdir()
    return Context(staging)


@pytest.fixture
def sts(shared: Path) -> Path:
    """The folder of real sarcoma CTs with their masks."""
    return shared / "data" / "ct" / "sts"


@pytest.fixture
def study(sts: Path, tmp_path: Path) -> Path:
    """A copy of the smallest of them as a cohort names it: CT_img, label and node."""
    folder = tmp_path / "P1"
    folder.mkdir()
    shutil.copy(sts / "STS_019" / "CT_image.nii.gz", folder / "CT_img.nii.gz")
    shutil.copy(sts / "STS_019" / "CT_mask.nii.gz", folder / "label.nii.gz")
    return folder


def _item(folder: Path) -> Item:
    """The item that a cohort folder plans for the study P1/S1 in `folder`."""
    found = {"primary": folder / "label.nii.gz", "node": folder / "node.nii.gz"}
    masks = {region: str(path) for region, path in found.items() if path.exists()}
    image = str(folder / "CT_img.nii.gz")
    details = {"study_id": "S1", "masks": masks, "modality": "CT"}
    return Item("ct_nifti", "series:P1/S1", image, (image, *masks.values()), "P1", details)


def _save_mask(
    source: Path, to: Path, labels: np.ndarray, affine: np.ndarray | None = None
) -> None:
    image = nib.load(source)
    nib.save(nib.Nifti1Image(labels, image.affine if affine is None else affine), to)


def _vectors(rows: ItemRows) -> dict[str, pa.Table]:
    return {one.spec.name: pa.ipc.open_stream(one.path).read_all() for one in rows.vectors}


@pytest.mark.parametrize("patient", ["STS_001", "STS_002", "STS_003", "STS_019"])
def test_a_real_ct_gives_one_lesion_of_the_masks_volume(
    sts: Path, context: Context, patient: str
) -> None:
    (item,) = plan_nifti([sts / patient / "CT_image.nii.gz"]).items
    rows = read_ct_nifti(item, context)
    (lesion,) = rows.tables["lesion"].to_pylist()
    mask = nib.load(sts / patient / "CT_mask.nii.gz")
    expected_mm3 = np.count_nonzero(mask.dataobj) * abs(np.linalg.det(mask.affine[:3, :3]))
    assert lesion["volume_mm3"] == pytest.approx(expected_mm3, rel=0.01)
    assert lesion["patient_id"] == item.patient_id == patient
    inside = np.argwhere(np.asarray(mask.dataobj)) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    centroid_lps = inside.mean(axis=0) * (-1, -1, 1)
    found = (lesion["x_mm"], lesion["y_mm"], lesion["z_mm"])
    np.testing.assert_allclose(found, centroid_lps, atol=0.01)


def test_nifti_with_mask_and_dicom_with_rtstruct_give_the_same_lesion(
    sts: Path, context: Context
) -> None:
    (nifti,) = plan_nifti([sts / "STS_002" / "CT_image.nii.gz"]).items
    (dicom,) = plan_dicom([sts / "STS_002" / "dicom_CT"]).items
    from_nifti, from_dicom = read_ct_nifti(nifti, context), read_dicom_series(dicom, context)
    (one,), (other,) = (rows.tables["lesion"].to_pylist() for rows in (from_nifti, from_dicom))
    for column in ("x_mm", "y_mm", "z_mm"):
        assert one[column] == pytest.approx(other[column], abs=1e-3)
    for column in ("volume_mm3", "long_axis_mm", "short_axis_mm"):
        assert one[column] == pytest.approx(other[column], rel=1e-4)
    ours, theirs = _vectors(from_nifti), _vectors(from_dicom)
    for name, table in ours.items():
        vector, same = (np.array(t["vector"][0].as_py()) for t in (table, theirs[name]))
        np.testing.assert_allclose(vector, same, rtol=1e-3, atol=1e-3)


def test_rows_have_the_types_of_the_schema_and_vectors_their_columns(
    study: Path, context: Context
) -> None:
    rows = read_ct_nifti(_item(study), context)
    assert rows.tables.keys() == {"patient", "study", "series", "lesion"}
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    (series,) = rows.tables["series"].to_pylist()
    assert (series["series_id"], series["modality"], series["slices"]) == ("P1/S1", "CT", 47)
    assert series["spacing_z_mm"] == pytest.approx(3.27)
    assert rows.seconds.keys() == {"read", "resample", "encode"}
    assert [one.spec.name for one in rows.vectors] == ["radiomics", "measurement"]
    for one in rows.vectors:
        table = pa.ipc.open_stream(one.path).read_all()
        assert table.column_names == [*VECTOR_ROWS["lesion"].names, "vector"]
        assert table["lesion_id"].to_pylist() == ["P1/S1/primary-1"]
        assert len(table["vector"][0]) == one.spec.dim


def test_nifti_mask_beside_dicom_gives_the_lesion_of_the_nifti_image(
    sts: Path, context: Context
) -> None:
    folder = sts / "STS_002"
    mask = str(folder / "CT_mask.nii.gz")
    (item,) = plan_dicom([folder / "dicom_CT" / "image"]).items
    drawn = replace(
        item, files=(*item.files, mask), details={**item.details, "masks": {"primary": mask}}
    )
    (found,) = read_dicom_series(drawn, context).tables["lesion"].to_pylist()
    (nifti,) = plan_nifti([folder / "CT_image.nii.gz"]).items
    (expected,) = read_ct_nifti(nifti, context).tables["lesion"].to_pylist()
    for name in ("volume_mm3", "x_mm", "y_mm", "z_mm", "long_axis_mm", "short_axis_mm"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)


@pytest.mark.parametrize("asked", [(), ("radiomics", "measurement"), ("radiomics-mr",)])
def test_real_mr_and_pet_are_encoded_apart_from_ct(sts: Path, context: Context, asked) -> None:
    for image, name in (("MR_T1_image", "radiomics-mr"), ("PET_image", "radiomics-pt")):
        (item,) = plan_nifti([sts / "STS_002" / f"{image}.nii.gz"]).items
        rows = read_ct_nifti(item, replace(context, encoders=resolve_encoders(asked)))
        assert rows.tables["lesion"].num_rows > 0
        assert {one.spec.name for one in rows.vectors} - {"measurement"} == {name}


def test_only_the_lesion_encoders_asked_for_are_used(study: Path, context: Context) -> None:
    asked = replace(context, encoders=("nucleus-shape", "measurement"))
    assert [one.spec.name for one in read_ct_nifti(_item(study), asked).vectors] == ["measurement"]


def test_an_image_without_a_mask_is_a_series_without_lesions(study: Path, context: Context) -> None:
    (study / "label.nii.gz").unlink()
    rows = read_ct_nifti(_item(study), context)
    assert rows.tables["series"].num_rows == 1
    assert rows.tables["lesion"].num_rows == 0
    assert rows.vectors == []


def test_lymph_nodes_are_lesions_of_their_own_region(study: Path, context: Context) -> None:
    labels = np.zeros((136, 134, 47), dtype=np.uint8)
    labels[20:26, 30:35, 10:13] = 1
    labels[60:64, 70:76, 30:32] = 2
    _save_mask(study / "label.nii.gz", study / "node.nii.gz", labels)
    rows = read_ct_nifti(_item(study), context).tables["lesion"].to_pylist()
    assert [(row["lesion_id"], row["region"], row["type"]) for row in rows] == [
        ("P1/S1/node-1", "node", "label 1"),
        ("P1/S1/node-2", "node", "label 2"),
        ("P1/S1/primary-1", "primary", None),
    ]


def test_the_time_of_dicom_is_the_studys(sts: Path, context: Context) -> None:
    (item,) = plan_dicom([sts / "STS_002" / "dicom_CT"]).items
    tables = read_dicom_series(item, context).tables
    taken = datetime(2006, 1, 28, 14, 54, 27)
    assert tables["study"]["study_date"].to_pylist() == [taken]
    for name in ("series", "lesion"):
        assert tables[name]["event_time"].to_pylist() == [None]
        assert tables[name]["known_at"].to_pylist() == [None]


@pytest.mark.parametrize("first", [0, 1], ids=["table first", "images first"])
def test_the_date_of_a_studies_csv_goes_before_that_of_the_images(
    sts: Path, tmp_path: Path, first: int
) -> None:
    images, cohort = tmp_path / "images", tmp_path / "cohort"
    images.mkdir()
    cohort.mkdir()
    for file in sorted((sts / "STS_002/dicom_CT/image").glob("*.dcm"))[:3]:
        shutil.copy(file, images)
    study_id = pydicom.dcmread(images / "000000.dcm").StudyInstanceUID
    row = f"STS_002,{study_id},2001-02-03"
    (cohort / "studies.csv").write_text(f"patient_id,study_id,study_date\n{row}\n")
    with Store.create(tmp_path / "store") as store:
        for path in ((cohort, images), (images, cohort))[first]:
            assert ingest(store, [path], IngestOptions(workers=1)).committed == 1
        (study,) = store.view().table("study").to_pylist()
        (series,) = store.view().table("series").to_pylist()
    taken = datetime(2001, 2, 3)
    assert [study["study_date"], series["event_time"], series["known_at"]] == [taken] * 3


def test_identifying_attributes_are_kept_only_when_asked_for(
    sts: Path, tmp_path: Path, context: Context
) -> None:
    folder = Path(shutil.copytree(sts / "STS_002" / "dicom_CT", tmp_path / "dicom"))
    for path in (folder / "image").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientBirthDate = "Doe^Jane", "19500102"
        dataset.save_as(path)
    (item,) = plan_dicom([folder]).items
    rows = read_dicom_series(item, context)
    assert "fact" not in rows.tables
    assert "Doe" not in str([table.to_pylist() for table in rows.tables.values()])
    facts = read_dicom_series(item, replace(context, keep_identity=True)).tables["fact"]
    kept = dict(zip(facts["name"].to_pylist(), facts["text"].to_pylist(), strict=True))
    assert kept["PatientName"] == "Doe^Jane"
    assert kept["PatientBirthDate"] == "19500102"


def test_a_duplicate_slice_is_reported_and_its_series_read(
    sts: Path, tmp_path: Path, context: Context
) -> None:
    folder = Path(shutil.copytree(sts / "STS_002" / "dicom_CT", tmp_path / "dicom"))
    shutil.copy(folder / "image" / "000003.dcm", folder / "image" / "again.dcm")
    (item,) = plan_dicom([folder]).items
    rows = read_dicom_series(item, context)
    assert [Path(one.path).name for one in rows.rejected] == ["again.dcm"]
    assert rows.tables["series"]["slices"].to_pylist() == [48]


def test_an_empty_mask_is_refused(study: Path, context: Context) -> None:
    empty = np.zeros((136, 134, 47), dtype=np.uint8)
    _save_mask(study / "label.nii.gz", study / "node.nii.gz", empty)
    rows = read_ct_nifti(_item(study), context)
    assert [Path(one.path).name for one in rows.rejected] == ["node.nii.gz"]
    assert rows.tables["lesion"].num_rows == 1
    shutil.copy(study / "node.nii.gz", study / "label.nii.gz")
    with pytest.raises(BadInput, match="empty mask") as refused:
        read_ct_nifti(_item(study), context)
    assert refused.value.path == str(study / "label.nii.gz")


@pytest.mark.parametrize("other", ["shape", "grid"])
def test_a_mask_of_another_shape_or_grid_is_refused(
    study: Path, context: Context, other: str
) -> None:
    mask = nib.load(study / "label.nii.gz")
    labels, affine = np.asarray(mask.dataobj), mask.affine.copy()
    if other == "shape":
        labels = labels[:, :, :-1]
    else:
        affine[2, 3] += 3.27
    _save_mask(study / "label.nii.gz", study / "label.nii.gz", labels, affine)
    with pytest.raises(BadInput, match="mask on another grid than its image") as refused:
        read_ct_nifti(_item(study), context)
    assert refused.value.path == str(study / "label.nii.gz")
    assert "CT_img.nii.gz" in refused.value.reason


def test_an_rtstruct_whose_contours_hold_no_voxel_is_refused(
    sts: Path, tmp_path: Path, context: Context
) -> None:
    folder = Path(shutil.copytree(sts / "STS_002" / "dicom_CT", tmp_path / "dicom"))
    drawn = pydicom.dcmread(folder / "mask" / "RS.dcm")
    contours = drawn.ROIContourSequence[0].ContourSequence[:1]
    x, y, z = contours[0].ContourData[:3]
    contours[0].ContourData = [x, y, z, x + 0.01, y, z, x, y + 0.01, z]
    drawn.ROIContourSequence[0].ContourSequence = contours
    drawn.save_as(folder / "mask" / "RS.dcm")
    (item,) = plan_dicom([folder]).items
    with pytest.raises(BadInput, match="empty mask: it covers no voxel") as refused:
        read_dicom_series(item, context)
    assert refused.value.path == str(folder / "mask" / "RS.dcm")


def test_an_rtstruct_of_organs_is_reported_and_its_series_read(
    sts: Path, tmp_path: Path, context: Context
) -> None:
    folder = Path(shutil.copytree(sts / "STS_002" / "dicom_CT", tmp_path / "dicom"))
    drawn = pydicom.dcmread(folder / "mask" / "RS.dcm")
    drawn.StructureSetROISequence[0].ROIName = "Lung_L"
    drawn.RTROIObservationsSequence[0].RTROIInterpretedType = "ORGAN"
    drawn.save_as(folder / "mask" / "organs.dcm")
    for count in (1, 0):
        (item,) = plan_dicom([folder]).items
        rows = read_dicom_series(item, context)
        assert rows.tables["lesion"].num_rows == count
        assert rows.tables["series"].num_rows == 1
        (refused,) = rows.rejected
        assert Path(refused.path).name == "organs.dcm"
        assert refused.reason == "no ROI or segment in it says that it is a lesion"
        (folder / "mask" / "RS.dcm").unlink(missing_ok=True)


def test_a_lesion_in_two_versions_of_an_rtstruct_is_one(
    sts: Path, tmp_path: Path, context: Context
) -> None:
    folder = Path(shutil.copytree(sts / "STS_002" / "dicom_CT", tmp_path / "dicom"))
    drawn = pydicom.dcmread(folder / "mask" / "RS.dcm")
    del drawn.ROIContourSequence[0].ContourSequence[0]  # an end of the tumour
    drawn.save_as(folder / "mask" / "RS_earlier.dcm")
    (item,) = plan_dicom([folder]).items
    assert item.details["rtstructs"] == 2
    (lesion,) = read_dicom_series(item, context).tables["lesion"].to_pylist()
    labels = np.asarray(nib.load(sts / "STS_002" / "CT_mask.nii.gz").dataobj)
    voxel_mm3 = 0.976562**2 * 3.27
    assert lesion["volume_mm3"] == pytest.approx(np.count_nonzero(labels) * voxel_mm3, rel=1e-3)


def test_a_refused_item_leaves_nothing_staged(study: Path, context: Context) -> None:
    whole = (study / "label.nii.gz").read_bytes()
    (study / "label.nii.gz").write_bytes(whole[:1000])
    with pytest.raises(BadInput):
        read_ct_nifti(_item(study), context)
    assert list(context.staging.iterdir()) == []


def test_a_crop_holds_the_lesion_with_a_margin_and_its_place_in_the_body() -> None:
    """A body of water from (4, 10, 10) to (35, 49, 49) in air, with one lesion."""
    voxels = np.full((40, 60, 60), -1000, dtype=np.float32)
    voxels[4:36, 10:50, 10:50] = 0
    labels = np.zeros(voxels.shape, dtype=np.uint8)
    labels[19:21, 19:21, 39:41] = 1  # a quarter from the front, three quarters to the left
    volume = Volume(voxels, Grid((40, 60, 60), np.diag([1.0, 1.0, 2.0, 1.0])))
    (lesion,) = find_lesions([LabelMask("m", "primary", labels)], volume.grid, "s", 0.0)
    crop = cut(volume, lesion, body_box(volume, "CT"), "CT")
    assert crop.image.shape == crop.mask.shape == (2 + 2 * 5, 2 + 2 * 10, 2 + 2 * 10)
    assert crop.mask.sum() == 8
    np.testing.assert_array_equal(crop.mask, labels[14:26, 9:31, 29:51] > 0)
    np.testing.assert_array_equal(crop.image, voxels[14:26, 9:31, 29:51])
    np.testing.assert_allclose(crop.location, (0.75, 0.25, 0.5), atol=0.1)  # steps of 4 mm
