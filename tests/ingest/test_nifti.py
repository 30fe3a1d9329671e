"""NIfTI of every orientation and type becomes one volume in LPS; damaged files are refused."""

from __future__ import annotations

import gzip
import itertools
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.store.errors import BadInput

AFFINE_RAS = np.array(
    [[-2.0, 0, 0, 30.0], [0, -3.0, 0, 40.0], [0, 0, 5.0, -7.0], [0, 0, 0, 1.0]]
)  # index axes towards left, back and head


@pytest.fixture
def ct(shared: Path) -> Path:
    """The folder of real CTs."""
    return shared / "data" / "ct"


def _write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE_RAS) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def _numbered(dtype: str = "int16") -> np.ndarray:
    """A volume (x, y, z) in which every voxel has its own value."""
    return np.arange(4 * 5 * 6, dtype=dtype).reshape(4, 5, 6)


def test_an_index_lies_where_the_affine_says_in_lps(tmp_path: Path) -> None:
    volume = read_volume(_write(tmp_path / "a.nii.gz", _numbered()))
    assert volume.voxels.shape == (6, 5, 4)
    assert volume.grid.spacing_mm == (5.0, 3.0, 2.0)
    # RAS (30 - 2x, 40 - 3y, -7 + 5z), so LPS (-30 + 2x, -40 + 3y, -7 + 5z)
    np.testing.assert_allclose(volume.grid.to_lps(np.array([[2.0, 3, 1]])), [[-28.0, -31, 3]])
    np.testing.assert_allclose(volume.grid.to_index(np.array([[-28.0, -31, 3]])), [[2.0, 3, 1]])
    assert volume.voxels[2, 3, 1] == _numbered()[1, 3, 2]


@pytest.mark.parametrize("axes", list(itertools.permutations("RAS")))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_every_orientation_gives_the_same_volume(
    tmp_path: Path, axes: tuple[str, ...], flips: tuple[bool, ...]
) -> None:
    opposite = dict(zip("RAS", "LPI", strict=True))
    codes = [opposite[a] if flip else a for a, flip in zip(axes, flips, strict=True)]
    straight = nib.Nifti1Image(_numbered(), AFFINE_RAS)
    turned = straight.as_reoriented(
        ornt_transform(axcodes2ornt(("L", "P", "S")), axcodes2ornt(codes))
    )
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    nib.save(turned, tmp_path / "turned.nii.gz")
    volume = read_volume(tmp_path / "turned.nii.gz")
    expected = read_volume(_write(tmp_path / "straight.nii.gz", _numbered()))
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    np.testing.assert_allclose(volume.grid.affine, expected.grid.affine, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "f4", "f8"])
def test_every_number_type_is_read(tmp_path: Path, dtype: str) -> None:
    image = nib.Nifti1Image(_numbered(dtype), AFFINE_RAS, dtype=np.dtype(dtype))
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, _numbered("f4").T)


def test_scale_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(_numbered(), AFFINE_RAS)
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "a.nii.gz")
    raw = nib.load(tmp_path / "a.nii.gz").dataobj.get_unscaled()
    slope = nib.load(tmp_path / "a.nii.gz").dataobj.slope
    assert slope == 0.5
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").voxels, raw.T * 0.5 - 1024)


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000.0), ("micron", 0.001)])
def test_other_units_than_millimetres_are_converted(
    tmp_path: Path, unit: str, scale: float
) -> None:
    image = nib.Nifti1Image(_numbered(), AFFINE_RAS)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    grid = read_volume(tmp_path / "a.nii").grid
    np.testing.assert_allclose(grid.spacing_mm, np.array([5.0, 3.0, 2.0]) * scale)
    np.testing.assert_allclose(grid.origin_mm, np.array([-30.0, -40.0, -7.0]) * scale)


def test_a_damaged_shape_of_terabytes_is_refused(ct: Path, tmp_path: Path) -> None:
    raw = bytearray(gzip.decompress((ct / "sts" / "STS_019" / "CT_mask.nii.gz").read_bytes()))
    raw[42:48] = np.full(3, 32_767, dtype="<i2").tobytes()  # dim[1] to dim[3]
    (tmp_path / "CT.nii").write_bytes(bytes(raw))
    with pytest.raises(BadInput, match="not a whole NIfTI file"):
        read_labels(tmp_path / "CT.nii")


def test_the_qform_places_an_image_without_sform(ct: Path) -> None:
    path = ct / "sts" / "STS_002" / "CT_image.nii.gz"
    assert nib.load(path).header["sform_code"] == 0
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.origin_mm, (1.953, 59.570, -629.04), atol=1e-3)
    np.testing.assert_allclose(volume.grid.spacing_mm, (3.27, 0.97656, 0.97656), atol=1e-4)
    np.testing.assert_allclose(volume.grid.direction, np.eye(3), atol=1e-6)


def test_one_frame_in_a_fourth_axis_is_dropped_and_two_are_refused(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.nii.gz", _numbered()[..., None])
    assert read_volume(one).voxels.shape == (6, 5, 4)
    two = _write(tmp_path / "two.nii.gz", np.stack([_numbered()] * 2, axis=-1))
    with pytest.raises(BadInput, match=r"one 3D frame, got shape \(4, 5, 6, 2\)"):
        read_volume(two)


def test_an_mr_is_read_as_well(ct: Path) -> None:
    volume = read_volume(ct / "totalsegmentator" / "example_mr_sm.nii.gz")
    assert volume.voxels.shape == (20, 91, 117)
    assert (volume.voxels.min(), volume.voxels.max()) == (-47, 833)


def test_the_small_ct_carries_the_origin_of_the_large_one_and_does_not_match_it(ct: Path) -> None:
    """A trap of the data: its voxels are slices 82 to 111, its origin that of slice 0."""
    small = read_volume(ct / "totalsegmentator" / "example_ct_sm.nii.gz")
    large = read_volume(ct / "totalsegmentator" / "example_ct.nii.gz")
    np.testing.assert_array_equal(small.voxels, large.voxels[82:112])
    assert small.grid.origin_mm == large.grid.origin_mm
    assert not small.grid.matches(large.grid)


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.3, 0.999])
def test_a_truncated_file_is_refused(ct: Path, tmp_path: Path, part: float) -> None:
    whole = (ct / "sts" / "STS_019" / "CT_image.nii.gz").read_bytes()
    path = tmp_path / "CT.nii.gz"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(BadInput, match=r"not a whole NIfTI file|zero bytes") as refused:
        read_volume(path)
    assert refused.value.path == str(path)


def test_a_truncated_uncompressed_file_is_refused(ct: Path, tmp_path: Path) -> None:
    whole = gzip.decompress((ct / "sts" / "STS_019" / "CT_mask.nii.gz").read_bytes())
    path = tmp_path / "CT.nii"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="not a whole NIfTI file"):
        read_labels(path)


def test_a_file_that_is_no_nifti_is_refused(tmp_path: Path) -> None:
    for name in ("text.nii", "text.nii.gz"):
        (tmp_path / name).write_text("patient_id,age\n" * 100)
        with pytest.raises(BadInput, match="not a whole NIfTI file"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused(ct: Path, tmp_path: Path, value: float) -> None:
    image = nib.load(ct / "sts" / "STS_019" / "CT_image.nii.gz")
    voxels = image.get_fdata(dtype=np.float32)
    voxels[3, 4, 5] = value
    path = _write(tmp_path / "CT.nii.gz", voxels, image.affine)
    with pytest.raises(BadInput, match="1 are NaN or infinite"):
        read_volume(path)


@pytest.mark.parametrize("pixdim", [0.0, -3.0])
def test_spacing_that_is_not_positive_is_refused(ct: Path, tmp_path: Path, pixdim: float) -> None:
    """Loading alone would turn 0 into 1 and -3 into 3 without a word."""
    raw = bytearray(gzip.decompress((ct / "sts" / "STS_019" / "CT_image.nii.gz").read_bytes()))
    raw[88:92] = np.float32(pixdim).tobytes()  # pixdim[3], at byte 76 + 3 * 4
    path = tmp_path / "CT.nii.gz"
    path.write_bytes(gzip.compress(bytes(raw), compresslevel=1))
    with pytest.raises(BadInput, match="spacing must be positive"):
        read_volume(path)


def test_whole_labels_are_read_from_floats_and_fractions_are_refused(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), dtype=np.float32)
    labels[1, 2, 3] = 2
    found, _ = read_labels(_write(tmp_path / "whole.nii.gz", labels))
    assert found.dtype == np.uint8
    assert found[3, 2, 1] == 2
    labels[1, 2, 3] = 0.5
    with pytest.raises(BadInput, match="whole numbers"):
        read_labels(_write(tmp_path / "half.nii.gz", labels))
    labels[1, 2, 3] = np.nan
    with pytest.raises(BadInput, match="finite"):
        read_labels(_write(tmp_path / "nan.nii.gz", labels))


@pytest.mark.parametrize(("label", "reason"), [(-1, ">= 0"), (70_000, "<= 65535")])
def test_labels_out_of_range_are_refused(tmp_path: Path, label: int, reason: str) -> None:
    labels = np.zeros((4, 5, 6), dtype=np.int32)
    labels[1, 2, 3] = label
    with pytest.raises(BadInput, match=reason):
        read_labels(_write(tmp_path / "mask.nii.gz", labels))


def test_a_grid_half_a_voxel_off_is_another_grid(ct: Path, tmp_path: Path) -> None:
    source = ct / "sts" / "STS_019" / "CT_mask.nii.gz"
    image = nib.load(source)
    affine = image.affine.copy()
    affine[0, 3] += 0.49
    _, grid = read_labels(source)
    _, moved = read_labels(_write(tmp_path / "moved.nii.gz", np.asarray(image.dataobj), affine))
    shutil.copy(source, tmp_path / "copy.nii.gz")
    _, copied = read_labels(tmp_path / "copy.nii.gz")
    assert grid.matches(copied)
    assert not grid.matches(moved)


def test_axes_that_lie_in_a_plane_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii.gz", _numbered())
    flat = AFFINE_RAS.copy()
    flat[:, 1] = flat[:, 0]
    image = nib.load(path)
    image.header.set_sform(flat, code=1)
    nib.save(nib.Nifti1Image(image.get_fdata(), None, image.header), tmp_path / "b.nii.gz")
    with pytest.raises(BadInput, match="they lie in a plane"):
        read_volume(tmp_path / "b.nii.gz")


def test_voxels_too_large_to_measure_are_refused(tmp_path: Path) -> None:
    voxels = _numbered("float32")
    voxels[1, 2, 3] = -3e38
    with pytest.raises(BadInput, match=r"at most 1e\+18 by size, got -3e\+38 to 119"):
        read_volume(_write(tmp_path / "a.nii.gz", voxels))
