"""F1 of nuclei against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.nucleus_matching import match_f1


def test_shifted_nuclei_match_by_their_overlap():
    truth = np.zeros((10, 40), dtype=int)
    truth[:, 0:10] = 5
    truth[:, 20:30] = 9
    predicted = np.zeros_like(truth)
    predicted[:, 2:12] = 1  # intersection over union 8 / 12
    predicted[:, 25:35] = 2  # 5 / 15
    predicted[0, 39] = 3
    f1, precision, recall = match_f1(truth, predicted)
    assert (precision, recall) == (1 / 3, 1 / 2)
    assert f1 == pytest.approx(2 / 5)
    assert match_f1(truth, predicted, iou=0.7) == (0.0, 0.0, 0.0)


def test_half_a_nucleus_is_no_match():
    truth = np.ones((2, 2), dtype=int)
    predicted = np.array([[1, 1], [2, 2]])
    assert match_f1(truth, predicted) == (0.0, 0.0, 0.0)


def test_same_nuclei_under_other_numbers_match():
    truth = np.array([[0, 7, 7], [3, 3, 0]])
    assert match_f1(truth, np.array([[0, 1, 1], [900, 900, 0]])) == (1.0, 1.0, 1.0)


def test_empty_maps_match_and_one_empty_map_does_not():
    empty, one = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    assert match_f1(empty, empty) == (1.0, 1.0, 1.0)
    assert match_f1(empty, one) == (0.0, 0.0, 0.0)
    assert match_f1(one, empty) == (0.0, 0.0, 0.0)


def test_map_without_background_is_matched():
    full = np.array([[1, 1, 2, 2]])
    assert match_f1(full, full) == (1.0, 1.0, 1.0)


def test_maps_of_two_shapes_and_low_iou_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        match_f1(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="iou must be in"):
        match_f1(np.zeros((2, 2), int), np.zeros((2, 2), int), iou=0.4)
