"""The patch of the DeepLesion networks equals the reference's, and is right at every border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from golden import assert_golden, seeded
from tumorbase.models.deeplesion_patch import deeplesion_patch
from tumorbase.models.lesion_crop import LesionInVolume


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "lesion_graph" / "golden.npz")


@pytest.fixture
def lesion() -> LesionInVolume:
    """In the middle of nine slices of noise, 2 mm apart, of 200 x 180 pixels of 1 mm."""
    volume = seeded(0).integers(-1100, 1500, (9, 200, 180)).astype(np.float32)
    return LesionInVolume(volume, 4, (80.0, 90.0, 100.0, 110.0), (2.0, 1.0, 1.0))


@pytest.mark.parametrize("run", ["prep_a", "prep_b_border", "prep_c_interp"])
def test_patch_equals_the_reference(golden: Mapping[str, np.ndarray], run: str) -> None:
    seed, height, width, depth, key = map(int, golden[f"{run}/seed_H_W_D_slice"])
    volume = seeded(seed).integers(-1200, 3300, (height, width, depth))
    from_head = np.moveaxis(volume, 2, 0)  # the reference counts slices from the head
    pixel_mm, slice_mm = golden[f"{run}/spacing_intv"].tolist()
    box = tuple(golden[f"{run}/box"].tolist())
    lesion = LesionInVolume(
        from_head[::-1].astype(np.float32), depth - 1 - key, box, (slice_mm, pixel_mm, pixel_mm)
    )
    patch = deeplesion_patch(lesion, pixel_mm=1.0)
    grey = np.moveaxis(patch.image, 0, 2) * 255
    assert list(grey.shape) == golden[f"{run}/patch_shape"].tolist()
    assert_golden(grey[::2, ::2], golden[f"{run}/patch"])
    mean, deviation, largest = golden[f"{run}/patch_stats"]
    figures = [grey.mean(), grey.std(), np.abs(grey).max()]
    assert figures == pytest.approx([mean, deviation, largest], rel=1e-4)
    assert_golden(patch.box_px, golden[f"{run}/center_box"])


@pytest.mark.parametrize("pixel_mm", [0.7, 0.8, 1.0, 1.7])
def test_pixels_are_those_of_opencv_resizing_the_whole_slice(
    lesion: LesionInVolume, pixel_mm: float
) -> None:
    grey = np.clip((lesion.volume[4].astype(np.float64) + 1024) / 4095, 0, 1) * 255
    scale = 1 / pixel_mm
    whole = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    bordered = cv2.copyMakeBorder(whole, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    x, y = round(90 * scale), round(100 * scale)
    expected = (bordered[y : y + 120, x : x + 120] - 50) / 255
    patch = deeplesion_patch(lesion, pixel_mm)
    np.testing.assert_allclose(patch.image[1], expected, atol=1e-5)


def test_channels_are_the_slices_above_at_and_below(lesion: LesionInVolume) -> None:
    levels = np.broadcast_to(np.arange(9.0)[:, None, None] * 100, (9, 200, 180))
    apart_5mm = replace(lesion, volume=levels, spacing_mm=(5.0, 1.0, 1.0))
    hu = (deeplesion_patch(apart_5mm, 1.0).image[:, 60, 60] * 255 + 50) / 255 * 4095 - 1024
    assert hu == pytest.approx([440, 400, 360], abs=0.01)  # z grows towards the head
    at_the_top = deeplesion_patch(replace(apart_5mm, key_slice=8), 1.0).image[:, 60, 60]
    assert at_the_top[0] == at_the_top[1] > at_the_top[2]


def test_one_slice_stands_for_its_neighbours(lesion: LesionInVolume) -> None:
    alone = deeplesion_patch(replace(lesion, volume=lesion.volume[4:5], key_slice=0), 1.0)
    assert (alone.image == alone.image[1]).all()
    assert (alone.image[1] == deeplesion_patch(lesion, 1.0).image[1]).all()


def test_lesion_stays_in_the_middle_of_a_slice_smaller_than_the_patch() -> None:
    volume = np.full((3, 30, 40), -1024.0, np.float32)
    volume[:, 10:14, 20:24] = 3071.0
    box = (20.0, 10.0, 24.0, 14.0)
    patch = deeplesion_patch(LesionInVolume(volume, 1, box, (2.0, 1.0, 1.0)), 1.0)
    rows, columns = np.nonzero(patch.image[1] > 0.5)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == [58, 61, 58, 61]
    assert patch.box_px.tolist() == [58, 58, 62, 62]


@pytest.mark.parametrize("corner", [(0.0, 0.0), (170.0, 190.0)])
def test_border_goes_on_beyond_a_lesion_at_the_corner(
    lesion: LesionInVolume, corner: tuple[float, float]
) -> None:
    x, y = corner
    patch = deeplesion_patch(replace(lesion, box_px=(x, y, x + 10, y + 10)), 1.0)
    padded = np.pad(lesion.volume[4], 60, mode="edge")
    hu = padded[int(y) + 5 : int(y) + 125, int(x) + 5 : int(x) + 125]
    expected = (np.clip((hu + 1024) / 4095, 0, 1) * 255 - 50) / 255
    np.testing.assert_allclose(patch.image[1], expected, atol=1e-6)
    assert patch.box_px.tolist() == [55, 55, 65, 65]


def test_pixels_may_be_oblong(lesion: LesionInVolume) -> None:
    columns = np.repeat(lesion.volume, 2, axis=2)
    oblong = replace(lesion, volume=columns, spacing_mm=(2.0, 1.0, 0.5), box_px=(160, 90, 200, 110))
    patch = deeplesion_patch(oblong, 1.0)
    # Two equal columns average to one.
    np.testing.assert_allclose(patch.image, deeplesion_patch(lesion, 1.0).image, atol=1e-6)
    np.testing.assert_allclose(patch.box_px, deeplesion_patch(lesion, 1.0).box_px)


def test_slices_are_enlarged_to_800_pixels_at_most() -> None:
    lesion = LesionInVolume(
        np.zeros((1, 500, 400), np.float32), 0, (100.0, 100.0, 150.0, 150.0), (2.0, 4.0, 4.0)
    )
    box = deeplesion_patch(lesion, 1.0).box_px
    assert box[2] - box[0] == pytest.approx(80)  # 50 * 800 / 500, and not 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_slice": 9}, r"key slice must be in \[0, 9\), got 9"),
        ({"key_slice": -1}, r"key slice must be in \[0, 9\), got -1"),
        ({"box_px": (100.0, 90.0, 80.0, 110.0)}, "expected a box .* with x1 <= x2"),
        ({"box_px": (float("nan"), 90.0, 80.0, 110.0)}, "expected a box .* with x1 <= x2"),
        ({"box_px": (180.0, 90.0, 200.0, 110.0)}, "middle outside 180 x 200 pixels"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "spacing must be positive"),
    ],
)
def test_a_lesion_that_cannot_be_is_refused(
    lesion: LesionInVolume, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        deeplesion_patch(replace(lesion, **change), 1.0)
