"""Discretisation and resampling by the formulas of the IBSI manual, on numbers one can check."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.discretisation import fixed_bin_number, fixed_bin_size
from tumorbase.models.resample import resample


def test_fixed_size_bins_start_at_the_lowest_and_hold_their_lower_edge():
    hu = np.array([-1000, -976, -975, -974, 0, 24, 25])
    assert fixed_bin_size(hu, 25, -1000).tolist() == [1, 1, 2, 2, 41, 41, 42]


def test_what_lies_below_the_lowest_is_level_1():
    assert fixed_bin_size(np.array([-2000.0, -1000.0]), 25, -1000).tolist() == [1, 1]


def test_a_fixed_number_of_bins_spans_the_range_and_the_highest_is_the_last():
    intensities = np.array([0.0, 2.4, 2.6, 5.0, 7.4, 7.6, 10.0])
    assert fixed_bin_number(intensities, 4).tolist() == [1, 1, 2, 3, 3, 4, 4]


def test_constant_intensities_are_one_level():
    assert fixed_bin_number(np.full(5, 7.0), 32).tolist() == [1] * 5


def test_resampling_keeps_a_linear_field_about_the_common_centre():
    z, y, x = np.indices((8, 9, 12), dtype=np.float64)
    field = 3 * z - 2 * y + 0.5 * x
    new = resample(field, np.array([3.0, 1.0, 0.5]), np.array([2.0, 2.0, 2.0]))
    assert new.shape == (12, 5, 3)
    assert new.mean() == pytest.approx(field.mean())
    inner = new[1:-1, 1:-1, 1:-1]
    assert np.diff(inner, axis=0) == pytest.approx(np.full((9, 3, 1), 3 * 2 / 3))
    assert np.diff(inner, axis=1) == pytest.approx(np.full((10, 2, 1), -2 * 2 / 1))


def test_resampling_to_the_same_spacing_changes_nothing():
    volume = np.random.default_rng(0).normal(size=(4, 5, 6))
    spacing_mm = np.array([3.27, 0.977, 0.977])
    assert np.array_equal(resample(volume, spacing_mm, spacing_mm), volume)


def test_rounding_adds_no_voxel():
    # 3 x 1.1 / 0.3 is 11, but in floating point a little more.
    assert 3 * 1.1 / 0.3 > 11
    new = resample(np.zeros((3, 2, 2)), np.array([1.1, 1, 1]), np.array([0.3, 1, 1]))
    assert new.shape == (11, 2, 2)


def test_values_stay_within_those_of_the_volume():
    volume = np.random.default_rng(1).uniform(-1, 1, (5, 6, 7))
    new = resample(volume, np.array([5.0, 1.0, 1.0]), np.array([0.7, 0.7, 0.7]))
    assert volume.min() <= new.min()
    assert new.max() <= volume.max()
