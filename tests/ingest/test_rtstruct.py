"""Contours are filled at pixel centres, on the slices they were drawn on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from tumorbase.ingest.mask_region import names_lesion, region_of
from tumorbase.ingest.nifti import read_labels
from tumorbase.ingest.rtstruct import read_rtstruct
from tumorbase.ingest.volume import Grid
from tumorbase.store.errors import BadInput

GRID = Grid((3, 10, 10), np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.fixture
def real(shared: Path) -> Path:
    """The RTSTRUCT of STS_002: one ROI, GTV_Mass_CT, of 16 contours."""
    return shared / "data" / "ct" / "sts" / "STS_002" / "dicom_CT" / "mask" / "RS.dcm"


def _square(low: float, high: float, z_mm: float) -> list[float]:
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return [value for x, y in corners for value in (x, y, z_mm)]


def _rtstruct(
    real: Path, to: Path, rois: dict[str, list[list[float]]], types: dict[str, str]
) -> str:
    """The real file with other ROIs: name -> contours, and name -> interpreted type."""
    dataset = pydicom.dcmread(real)
    sequences: tuple[list[Dataset], ...] = ([], [], [])
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi, item, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber = item.ReferencedROINumber = seen.ReferencedROINumber = number
        roi.ROIName, seen.RTROIInterpretedType = name, types.get(name, "")
        item.ContourSequence = []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.ContourData = [str(value) for value in points]
            item.ContourSequence.append(contour)
        for sequence, one in zip(sequences, (roi, item, seen), strict=True):
            sequence.append(one)
    dataset.StructureSetROISequence = sequences[0]
    dataset.ROIContourSequence = sequences[1]
    dataset.RTROIObservationsSequence = sequences[2]
    dataset.save_as(to)
    return str(to)


def test_the_real_contours_give_the_real_mask_exactly(real: Path) -> None:
    labels, grid = read_labels(real.parents[1] / ".." / "CT_mask.nii.gz")
    (mask,) = read_rtstruct(str(real), grid)
    np.testing.assert_array_equal(mask.labels, labels > 0)
    assert (mask.region, dict(mask.types)) == ("primary", {1: "GTV_Mass_CT"})


def test_voxels_are_inside_by_their_centres_and_an_inner_contour_is_a_hole(
    real: Path, tmp_path: Path
) -> None:
    contours = [_square(1.6, 7.4, 2.0), _square(3.6, 5.4, 2.0), _square(0.9, 1.1, 4.0)]
    path = _rtstruct(real, tmp_path / "RS.dcm", {"GTV": contours}, {"GTV": "GTV"})
    (mask,) = read_rtstruct(path, GRID)
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[1, 2:8, 2:8] = True
    expected[1, 4:6, 4:6] = False
    expected[2, 1, 1] = True
    np.testing.assert_array_equal(mask.labels, expected)


def test_tumours_and_nodes_are_taken_and_organs_left(real: Path, tmp_path: Path) -> None:
    contours = [_square(1.6, 7.4, 2.0)]
    names = ("Heart", "GTV-1", "GTVn", "PTV tumour", "Spinal-Cord")
    types = {"Heart": "ORGAN", "PTV tumour": "PTV"}
    path = _rtstruct(real, tmp_path / "RS.dcm", dict.fromkeys(names, contours), types)
    masks = read_rtstruct(path, GRID)
    assert [(m.region, m.types[1]) for m in masks] == [("primary", "GTV-1"), ("node", "GTVn")]


def test_where_no_roi_says_tumour_those_of_no_type_are_taken(real: Path, tmp_path: Path) -> None:
    rois = {name: [_square(1.6, 7.4, 2.0)] for name in ("ROI-1", "Body")}
    path = _rtstruct(real, tmp_path / "RS.dcm", rois, {"Body": "EXTERNAL"})
    assert [mask.types[1] for mask in read_rtstruct(path, GRID)] == ["ROI-1"]


def test_organs_and_margins_of_no_type_are_no_lesions(real: Path, tmp_path: Path) -> None:
    contours = [_square(1.6, 7.4, 2.0)]
    names = ("Lung_L", "SpinalCord", "PTV nodes", "CTV")
    rois = dict.fromkeys(names, contours)
    assert read_rtstruct(_rtstruct(real, tmp_path / "RS.dcm", rois, {}), GRID) == []
    path = _rtstruct(real, tmp_path / "RS.dcm", {**rois, "Ellipse 1": contours}, {})
    assert [mask.types[1] for mask in read_rtstruct(path, GRID)] == ["Ellipse 1"]


@pytest.mark.parametrize("z_mm", [-10.0, 20.0, 1.0])
def test_a_contour_outside_the_series_or_between_slices_is_refused(
    real: Path, tmp_path: Path, z_mm: float
) -> None:
    path = _rtstruct(real, tmp_path / "RS.dcm", {"GTV": [_square(1, 5, z_mm)]}, {})
    with pytest.raises(BadInput, match="expected it in one of the slices 0 to 2"):
        read_rtstruct(path, GRID)


def test_contours_on_every_other_slice_are_refused(real: Path, tmp_path: Path) -> None:
    grid = Grid((9, 10, 10), GRID.affine)
    contours = [_square(1.6, 7.4, z_mm) for z_mm in (0.0, 4.0, 8.0)]
    path = _rtstruct(real, tmp_path / "RS.dcm", {"GTV": contours}, {})
    with pytest.raises(BadInput, match=r"drawn on every 2\. slice only"):
        read_rtstruct(path, grid)


def test_two_parts_of_one_roi_may_lie_apart(real: Path, tmp_path: Path) -> None:
    grid = Grid((9, 10, 10), GRID.affine)
    contours = [_square(1.6, 7.4, z_mm) for z_mm in (0.0, 2.0, 8.0, 10.0)]
    path = _rtstruct(real, tmp_path / "RS.dcm", {"GTV": contours}, {})
    (mask,) = read_rtstruct(path, grid)
    assert (
        mask.labels.any(axis=(1, 2)).tolist()
        == [True, True, False, False, True, True] + [False] * 3
    )


@pytest.mark.parametrize("values", [["nan", "0", "0"], ["1", "2"], []])
def test_contour_data_that_are_no_points_are_refused(
    real: Path, tmp_path: Path, values: list[str]
) -> None:
    path = tmp_path / "RS.dcm"
    with disable_value_validation():
        dataset = pydicom.dcmread(real)
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = [*values, *["5"] * 9] if values else []
        dataset.save_as(path)
    with pytest.raises(BadInput, match="ContourData must be"):
        read_rtstruct(str(path), GRID)


def test_an_oblique_contour_is_refused(real: Path, tmp_path: Path) -> None:
    tilted = [1.0, 1.0, 0.0, 8.0, 1.0, 4.0, 8.0, 8.0, 2.0, 1.0, 8.0, 0.0]
    path = _rtstruct(real, tmp_path / "RS.dcm", {"GTV": [tilted]}, {})
    with pytest.raises(BadInput, match="do not lie in slices of the series"):
        read_rtstruct(path, GRID)


def test_an_rtstruct_without_contours_is_refused(real: Path, tmp_path: Path) -> None:
    path = _rtstruct(real, tmp_path / "RS.dcm", {"GTV": []}, {"GTV": "GTV"})
    with pytest.raises(BadInput, match="without a closed planar contour"):
        read_rtstruct(path, GRID)


def test_a_truncated_rtstruct_is_refused(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "RS.dcm"
    path.write_bytes(real.read_bytes()[:60_000])
    with pytest.raises(BadInput, match="truncated"):
        read_rtstruct(str(path), GRID)


@pytest.mark.parametrize(
    ("name", "region", "is_lesion"),
    [
        ("GTV_Mass_CT", "primary", True),
        ("GTVn", "node", True),
        ("GTV-N1", "node", True),
        ("GTVnew", "primary", True),
        ("lymph node 3", "node", True),
        ("Liver metastasis", "primary", True),
        ("Lung-Left", "primary", False),
        ("Masseter_L", "primary", False),
        ("LN_4R", "node", True),
        ("nodule 2", "primary", True),
        ("PTV lymph nodes", "node", False),
        ("ITV tumour", "primary", False),
    ],
)
def test_names_tell_the_region_and_whether_it_is_a_lesion(
    name: str, region: str, is_lesion: bool
) -> None:
    assert (region_of(name), names_lesion(name)) == (region, is_lesion)
