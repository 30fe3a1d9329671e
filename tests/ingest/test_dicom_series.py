"""A DICOM series becomes the volume that its positions describe, or is refused with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tumorbase.ingest.dicom_series import DicomSeries, read_series
from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.store.errors import BadInput


@pytest.fixture
def sts_002(shared: Path) -> Path:
    """A real patient with the same CT as NIfTI and as DICOM, 48 slices 3.27 mm apart."""
    return shared / "data" / "ct" / "sts" / "STS_002"


@pytest.fixture
def folder(sts_002: Path, tmp_path: Path) -> Path:
    """A copy of twelve slices of that series, to be damaged."""
    (tmp_path / "image").mkdir()
    for path in sorted((sts_002 / "dicom_CT" / "image").iterdir())[4:16]:
        shutil.copy(path, tmp_path / "image")
    return tmp_path / "image"


def _read(folder: Path) -> DicomSeries:
    return read_series(str(folder), "1.2.3", [str(path) for path in folder.iterdir()])


def _change(path: Path, change: Callable[[Dataset], None], to: Path | None = None) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(to or path)


def test_dicom_and_nifti_of_one_ct_give_the_same_volume(sts_002: Path) -> None:
    series = _read(sts_002 / "dicom_CT" / "image")
    nifti = read_volume(sts_002 / "CT_image.nii.gz")
    assert series.duplicates == ()
    assert series.volume.grid.matches(nifti.grid)
    np.testing.assert_array_equal(series.volume.voxels, nifti.voxels)


def test_jpeg_2000_unsigned_and_without_suffix_is_read_with_the_spacing_of_positions(
    shared: Path,
) -> None:
    """SliceThickness says 3 mm, positions lie 2 mm apart; values are -1024 + stored."""
    folder = shared / "data" / "ct" / "totalsegmentator" / "example_ct_dicom"
    volume = _read(folder).volume
    assert volume.grid.spacing_mm == pytest.approx((2.0, 0.9765625, 0.9765625))
    one = pydicom.dcmread(next(path for path in folder.iterdir() if path.name.endswith("16583")))
    assert one.SliceThickness == 3
    assert one.PixelRepresentation == 0
    z = round((float(one.ImagePositionPatient[2]) - volume.grid.origin_mm[2]) / 2.0)
    np.testing.assert_array_equal(volume.voxels[z], one.pixel_array - 1024.0)
    labels, grid = read_labels(folder.parent / "example_seg_dicom.nii.gz")
    assert grid.matches(volume.grid)
    assert 20 < volume.voxels[labels == 5].mean() < 150  # the liver


def test_the_order_of_files_does_not_matter(sts_002: Path) -> None:
    paths = sorted(str(path) for path in (sts_002 / "dicom_CT" / "image").iterdir())
    forth = read_series("folder", "1.2.3", paths)
    back = read_series("folder", "1.2.3", paths[::-1])
    assert forth.paths == back.paths
    np.testing.assert_array_equal(forth.volume.voxels, back.volume.voxels)


def test_rescale_slope_of_each_slice_is_applied(folder: Path) -> None:
    before = _read(folder).volume.voxels

    def halve(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "100"

    first = min(folder.iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])
    _change(first, halve)
    after = _read(folder).volume.voxels
    np.testing.assert_array_equal(after[0], before[0] * 0.5 + 100)
    np.testing.assert_array_equal(after[1:], before[1:])


def test_an_exact_duplicate_is_used_once_and_reported(folder: Path) -> None:
    before = _read(folder).volume
    shutil.copy(folder / "000010.dcm", folder / "copy_of_000010.dcm")
    series = _read(folder)
    np.testing.assert_array_equal(series.volume.voxels, before.voxels)
    (duplicate,) = series.duplicates
    assert Path(duplicate.path).name == "copy_of_000010.dcm"
    assert "duplicate of" in duplicate.reason


def test_one_uid_with_two_contents_is_refused(folder: Path) -> None:
    def brighten(dataset: Dataset) -> None:
        dataset.PixelData = (dataset.pixel_array + 1).astype(np.int16).tobytes()

    _change(folder / "000010.dcm", brighten, folder / "other.dcm")
    with pytest.raises(BadInput, match="two different slices with one SOPInstanceUID"):
        _read(folder)


def test_two_slices_at_one_position_are_refused(folder: Path) -> None:
    def rename(dataset: Dataset) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    _change(folder / "000010.dcm", rename, folder / "other.dcm")
    with pytest.raises(BadInput, match=r"series 1\.2\.3: two series of one UID.*both lie at"):
        _read(folder)


def test_a_missing_slice_is_refused_with_its_place(folder: Path) -> None:
    position = pydicom.dcmread(folder / "000010.dcm").ImagePositionPatient[2]
    (folder / "000010.dcm").unlink()
    with pytest.raises(BadInput, match=r"series 1\.2\.3: 1 slice\(s\) missing between") as refused:
        _read(folder)
    low, high = position - 3.27, position + 3.27
    assert f"between {low:.2f} and {high:.2f} mm" in refused.value.reason
    assert refused.value.path == str(folder)


def test_uneven_spacing_is_refused(folder: Path) -> None:
    def shift(dataset: Dataset) -> None:
        dataset.ImagePositionPatient[2] += 1.0

    _change(folder / "000010.dcm", shift)
    with pytest.raises(BadInput, match="uneven spacing between"):
        _read(folder)


def _place(folder: Path, positions_mm: list[list[float]]) -> None:
    for path, position in zip(sorted(folder.iterdir()), positions_mm, strict=True):

        def move(dataset: Dataset, position: list[float] = position) -> None:
            dataset.ImagePositionPatient = position

        _change(path, move)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(folder: Path) -> None:
    _place(folder, [[1.0, 2.0, round(0.625 * number, 1)] for number in range(12)])
    assert _read(folder).volume.grid.spacing_mm[0] == pytest.approx(0.625, abs=0.01)


@pytest.mark.parametrize(
    "positions_mm",
    [
        [[1.0 + 2 * (number > 5), 2.0, 3.0 * number] for number in range(12)],  # the table moved
        [[1.0, 2.0, 3.0 * number + 0.2 * max(0, number - 5)] for number in range(12)],
    ],
)
def test_slices_aside_or_of_two_spacings_are_refused(
    folder: Path, positions_mm: list[list[float]]
) -> None:
    _place(folder, positions_mm)
    with pytest.raises(BadInput, match=r"uneven stack: .* off its place among 12 slices"):
        _read(folder)


def test_a_gantry_tilt_is_kept(folder: Path) -> None:
    _place(folder, [[1.0, 2.0 + 0.3 * number, 3.0 * number] for number in range(12)])
    np.testing.assert_allclose(_read(folder).volume.grid.affine[:3, 2], (0, 0.3, 3.0))


def _coronal(dataset: Dataset) -> None:
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _other_frame(dataset: Dataset) -> None:
    dataset.FrameOfReferenceUID = generate_uid()


def _other_matrix(dataset: Dataset) -> None:
    dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows


def _other_spacing(dataset: Dataset) -> None:
    dataset.PixelSpacing = [1.5, 1.5]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_coronal, "mixed orientation"),
        (_other_frame, "more than one FrameOfReferenceUID"),
        (_other_matrix, "two series of one UID: matrix"),
        (_other_spacing, "two series of one UID: spacing"),
    ],
)
def test_slices_of_two_series_under_one_uid_are_refused(
    folder: Path, change: Callable[[Dataset], None], reason: str
) -> None:
    _change(folder / "000010.dcm", change)
    with pytest.raises(BadInput, match=reason):
        _read(folder)


@pytest.mark.parametrize("spacing", [[0, 1], [-1, 1]])
def test_pixel_spacing_that_is_not_positive_is_refused(folder: Path, spacing: list[int]) -> None:
    _change(folder / "000010.dcm", lambda dataset: setattr(dataset, "PixelSpacing", spacing))
    with pytest.raises(BadInput, match="PixelSpacing must be two positive") as refused:
        _read(folder)
    assert refused.value.path.endswith("000010.dcm")


@pytest.mark.parametrize("size", [100, 1500, 2000, 2600, 24_000, -1])
def test_a_truncated_slice_is_refused_by_name(folder: Path, size: int) -> None:
    path = folder / "000010.dcm"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadInput, match=r"truncated|not DICOM") as refused:
        _read(folder)
    assert refused.value.path == str(path)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_truncated_jpeg_2000_is_refused_by_name(shared: Path, tmp_path: Path, part: float) -> None:
    source = shared / "data" / "ct" / "totalsegmentator" / "example_ct_dicom"
    folder = Path(shutil.copytree(source, tmp_path / "series"))
    path = sorted(folder.iterdir())[3]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(BadInput, match="truncated") as refused:
        _read(folder)
    assert refused.value.path == str(path)


@pytest.mark.parametrize(
    ("element", "damaged"),
    [(b"\x28\x00\x30\x00", b"xxxx"), (b"\x28\x00\x10\x00", b"\x03\x00\x00\x00")],
)
def test_a_damaged_element_is_refused_by_name(folder: Path, element: bytes, damaged: bytes) -> None:
    """PixelSpacing that is no number, and Rows of three bytes."""
    path = folder / "000010.dcm"
    whole = bytearray(path.read_bytes())
    at = whole.index(element, 400) + (8 if damaged == b"xxxx" else 4)
    whole[at : at + 4] = damaged
    path.write_bytes(bytes(whole))
    with pytest.raises(BadInput, match="damaged") as refused:
        _read(folder)
    assert refused.value.path == str(path)


def test_a_single_slice_takes_its_thickness_as_spacing(folder: Path) -> None:
    series = read_series("folder", "1.2.3", [str(folder / "000010.dcm")])
    assert series.volume.voxels.shape == (1, 143, 161)
    assert series.volume.grid.spacing_mm[0] == pytest.approx(3.27)
    _change(folder / "000010.dcm", lambda dataset: delattr(dataset, "SliceThickness"))
    with pytest.raises(BadInput, match="one slice needs a positive SliceThickness"):
        read_series("folder", "1.2.3", [str(folder / "000010.dcm")])


def test_sagittal_slices_are_turned_to_axial_order(folder: Path) -> None:
    """Slices stacked towards the left, rows towards the feet: the volume still ascends in z."""
    paths = sorted(folder.iterdir())[:5]
    for path in folder.iterdir():
        if path not in paths:
            path.unlink()
    for number, path in enumerate(paths):

        def turn(dataset: Dataset, number: int = number) -> None:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            dataset.ImagePositionPatient = [10 - 2.0 * number, 20, 300]

        _change(path, turn)
    volume = _read(folder).volume
    assert volume.voxels.shape == (143, 161, 5)
    np.testing.assert_allclose(volume.grid.direction, np.eye(3), atol=1e-12)
    first = pydicom.dcmread(paths[0])
    at_mm = [10.0, 20 + 7 * 0.976562, 300 - 3 * 0.976562]
    z, y, x = np.rint(volume.grid.to_index(np.array([at_mm]))[0]).astype(int)
    assert volume.voxels[z, y, x] == first.pixel_array[3, 7]
    assert nib.aff2axcodes(np.diag([-1, -1, 1, 1]) @ volume.grid.affine) == ("L", "P", "S")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", ["0", "nan", "0"]),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "nan", "0"]),
        ("PixelSpacing", ["1", "nan"]),
    ],
)
def test_geometry_that_is_not_finite_is_refused(folder: Path, keyword: str, value: list) -> None:
    with disable_value_validation():
        _change(folder / "000010.dcm", lambda dataset: setattr(dataset, keyword, value))
    with pytest.raises(BadInput, match=f"{keyword} must be"):
        _read(folder)
