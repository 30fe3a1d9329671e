"""What SMuRF sees of a CT and of slides: crops around a region, and padded grids."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from golden import fill
from tumorbase.models.networks import build
from tumorbase.models.smurf_grids import pad_grids
from tumorbase.models.smurf_sub_volumes import region_sub_volumes

SPACING_MM = (3.0, 1.0, 1.0)
SHAPE = (40, 300, 280)


def test_crops_come_one_from_each_quarter_of_the_grown_box() -> None:
    """Slices 10 to 29 and a ring of five of 3 mm: the box is of slices 5 to 34."""
    mask = _mask(slice(10, 30), slice(140, 150), slice(130, 150))
    volume = np.broadcast_to(np.arange(40.0)[:, None, None] * 10 - 150, SHAPE)
    middle = []
    for seed in range(50):
        crops = region_sub_volumes(volume, mask, SPACING_MM, seed)
        assert crops.shape == (4, 3, 128, 128)
        assert crops.dtype == np.float32
        slices = np.round(crops[:, :, 64, 64] * 40)
        assert (np.diff(slices, axis=1) == 1).all()
        middle.append(slices[:, 1])
    quarters = [5, 12, 19, 26, 34]
    for band, (first, last) in enumerate(pairwise(quarters)):
        seen = {slices[band] for slices in middle}
        assert min(seen) >= first
        assert max(seen) <= last
        assert len(seen) > 4


def test_the_ring_is_of_15_mm_in_plane() -> None:
    """Around one voxel, 15 mm are 30 voxels: centres lie as far from it, and no farther."""
    mask = _mask(slice(20, 21), slice(150, 151), slice(140, 141))
    rows = np.broadcast_to(np.arange(300.0)[None, :, None] - 150, SHAPE)
    found = []
    for seed in range(100):
        crops = region_sub_volumes(rows, mask, (3.0, 0.5, 0.5), seed)
        found += np.round(crops[:, 1, 64, 64] * 400).tolist()
    assert (min(found), max(found)) == (120, 180)


def test_a_crop_stays_in_a_box_larger_than_itself() -> None:
    mask = _mask(slice(10, 30), slice(60, 200), slice(140, 141))
    rows = np.broadcast_to(np.arange(300.0)[None, :, None] - 150, SHAPE)
    for seed in range(20):
        crops = region_sub_volumes(rows, mask, SPACING_MM, seed) * 400
        assert crops[:, :, 0].min() >= 60 - 15
        assert crops[:, :, -1].max() <= 199 + 15


def test_the_window_is_of_soft_tissue() -> None:
    volume = np.full(SHAPE, 50.0)
    volume[:, ::2] = -1000
    volume[:, :, ::2] = 3000
    crops = region_sub_volumes(
        volume, _mask(slice(20, 21), slice(150, 151), slice(140, 141)), SPACING_MM
    )
    assert np.unique(crops).tolist() == [0.0, 0.5, 1.0]


def test_seeds_draw_other_crops_and_one_seed_the_same() -> None:
    volume = np.random.default_rng(0).normal(50, 80, SHAPE)
    mask = _mask(slice(10, 30), slice(140, 150), slice(130, 150))
    first, again = (region_sub_volumes(volume, mask, SPACING_MM) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, region_sub_volumes(volume, mask, SPACING_MM, seed=1))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_ct_smaller_than_the_crop_has_air_around_it(depth: int) -> None:
    volume = np.full((depth, 40, 60), 250.0)
    mask = np.zeros(volume.shape, dtype=bool)
    mask[0, 20, 30] = True
    crops = region_sub_volumes(volume, mask, SPACING_MM)
    assert set(np.unique(crops)) == {0.0, 1.0}
    assert (crops.sum(axis=(1, 2, 3)) == 40 * 60 * min(depth, 3)).all()


def test_a_mask_in_one_slice_at_the_end_is_seen_with_its_neighbours() -> None:
    """A ring of less than a slice: all crops are of the last three."""
    volume = np.broadcast_to(np.arange(40.0)[:, None, None] * 10 - 150, SHAPE)
    crops = region_sub_volumes(
        volume, _mask(slice(39, 40), slice(150, 151), slice(140, 141)), (40.0, 1, 1)
    )
    assert (np.round(crops[:, :, 64, 64] * 40) == [37, 38, 39]).all()


def test_a_region_at_the_border_of_the_volume_is_cropped() -> None:
    volume = np.full(SHAPE, 250.0)
    crops = region_sub_volumes(volume, _mask(slice(0, 2), slice(0, 3), slice(278, 280)), SPACING_MM)
    assert (crops[:, :, 64, 64] == 1).all()
    assert (crops[:, :, 0, 127] == 0).all()


def test_sub_volumes_of_a_real_ct_hold_its_tumour(shared: Path) -> None:
    """Soft-tissue sarcomas cut out 5 cm around the tumour; the network takes what comes."""
    for patient in ("STS_002", "STS_019"):
        folder = shared / "data" / "ct" / "sts" / patient
        image = nibabel.load(folder / "CT_image.nii.gz")
        volume = image.get_fdata().T
        mask = nibabel.load(folder / "CT_mask.nii.gz").get_fdata().T > 0
        spacing_mm = tuple(float(mm) for mm in image.header.get_zooms()[::-1])
        crops = region_sub_volumes(volume, mask, spacing_mm)
        seen = region_sub_volumes(np.where(mask, 250.0, -150.0), mask, spacing_mm)
        assert (seen[1:3].sum(axis=(1, 2, 3)) > 0).all()  # the middle quarters
        assert 0.4 < crops[seen > 0].mean() < 0.6  # muscle's 50 HU are 0.5
        sub_volumes = torch.from_numpy(crops)[None]
        with torch.inference_mode():
            output = fill(build("smurf"))(sub_volumes, sub_volumes, torch.zeros(1, 1, 192, 9, 9))
        assert torch.isfinite(output.fused).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": np.zeros((4, 5, 6))}, "mask with at least one voxel, got an empty one"),
        ({"mask": np.ones((4, 5, 7))}, r"mask of its shape, got \(4, 5, 6\) and \(4, 5, 7\)"),
        ({"volume_hu": np.full((4, 5, 6), np.nan)}, "expected finite HU"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing must be positive"),
    ],
)
def test_what_cannot_be_cropped_is_refused(changes: dict, message: str) -> None:
    right = {
        "volume_hu": np.zeros((4, 5, 6)),
        "mask": np.ones((4, 5, 6)),
        "spacing_mm": (1.0, 1.0, 1.0),
    }
    with pytest.raises(ValueError, match=message):
        region_sub_volumes(**(right | changes))


def test_grids_of_any_sizes_are_padded_around_and_marked() -> None:
    """The published code pads columns by how many rows lack."""
    small, wide = torch.rand(2, 3, 4, 192), torch.rand(1, 2, 7, 192)
    padded, marks = pad_grids([small, wide])
    assert padded.shape == (2, 2, 192, 3, 7)
    assert marks.tolist() == [[True, True], [True, False]]
    assert torch.equal(padded[0, :, :, :, 1:5], small.movedim(-1, 1))
    assert torch.equal(padded[1, :1, :, :2], wide.movedim(-1, 1))
    assert padded.sum().item() == pytest.approx((small.sum() + wide.sum()).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ([], "at least one patient"),
        ([torch.zeros(0, 2, 2, 192)], r"expected grids \(fragments, rows, columns, 192\)"),
        ([torch.zeros(1, 192, 2, 2)], r"expected grids \(fragments, rows, columns, 192\)"),
    ],
)
def test_what_is_no_grid_is_refused(patients: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad_grids(patients)


def _mask(z: slice, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[z, y, x] = True
    return mask
