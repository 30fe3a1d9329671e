"""RECIST axes of shapes whose diameters are known."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.recist_axes import recist_axes_mm


def ellipse(shape: tuple[int, int], half_axes: tuple[float, float], degrees: float) -> np.ndarray:
    """A filled ellipse in pixels, turned by `degrees`, as one slice (1, y, x)."""
    y, x = np.indices(shape, dtype=np.float64)
    y, x = y - shape[0] / 2, x - shape[1] / 2
    turn = np.deg2rad(degrees)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return ((along / half_axes[0]) ** 2 + (across / half_axes[1]) ** 2 <= 1)[None]


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 137])
def test_axes_of_an_ellipse_are_its_diameters_whatever_its_direction(degrees):
    mask = ellipse((160, 160), (60, 25), degrees)
    # Outer pixel edges lie up to a pixel and a half outside the drawn curve.
    assert recist_axes_mm(mask, (1, 0.5, 0.5)) == pytest.approx((60, 25), abs=0.75)


def test_axes_of_a_rectangle_are_its_diagonal_and_the_chord_across_it():
    mask = np.zeros((1, 20, 20), dtype=bool)
    mask[0, 3:7, 5:15] = True  # 4 x 10 pixels
    long_axis, short_axis = recist_axes_mm(mask, (5, 1, 1))
    assert long_axis == pytest.approx(np.hypot(10, 4))
    # Perpendicular to the diagonal, the sides 4 apart limit the chord.
    assert short_axis == pytest.approx(4 * np.hypot(10, 4) / 10)


def test_pixel_spacing_may_differ_between_rows_and_columns():
    mask = np.ones((1, 1, 10), dtype=bool)
    long_axis, _ = recist_axes_mm(mask, (5, 3, 0.4))
    assert long_axis == pytest.approx(np.hypot(3, 4))


def test_a_single_pixel_has_the_diagonals_of_the_pixel():
    mask = np.ones((1, 1, 1), dtype=bool)
    assert recist_axes_mm(mask, (5, 2, 2)) == pytest.approx((np.hypot(2, 2), np.hypot(2, 2)))


def test_both_axes_come_from_the_slice_with_the_longest():
    thick, long = np.zeros((1, 40, 40), dtype=bool), np.zeros((1, 40, 40), dtype=bool)
    thick[0, 10:30, 10:30] = True
    long[0, 20:22, 2:38] = True
    alone = recist_axes_mm(long, (3, 1, 1))
    assert recist_axes_mm(np.concatenate([thick, long, thick]), (3, 1, 1)) == alone


def test_a_long_lesion_along_z_is_measured_in_the_axial_plane():
    mask = np.zeros((50, 9, 9), dtype=bool)
    mask[:, 4, 4] = True
    assert recist_axes_mm(mask, (5, 1, 1))[0] == pytest.approx(np.hypot(1, 1))


def test_mirrored_and_turned_masks_have_the_same_axes():
    mask = np.random.default_rng(0).random((1, 12, 15)) > 0.9
    axes = recist_axes_mm(mask, (1, 1, 1))
    assert recist_axes_mm(mask[:, ::-1], (1, 1, 1)) == pytest.approx(axes)
    assert recist_axes_mm(mask.transpose(0, 2, 1), (1, 1, 1)) == pytest.approx(axes)


@pytest.mark.parametrize("mask", [np.zeros((2, 3, 3), dtype=bool), np.ones((3, 3), dtype=bool)])
def test_a_mask_without_a_lesion_is_refused(mask):
    with pytest.raises(ValueError, match="expected a mask"):
        recist_axes_mm(mask, (1, 1, 1))
