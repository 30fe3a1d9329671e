"""Targets of HoVer-Net against the reference's map and drawn nuclei."""

from __future__ import annotations

import numpy as np
import pytest

from golden import assert_golden
from tumorbase.models.hovernet_targets import hv_target, targets


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "reference" / "hovernet" / "golden.npz")


def test_distances_are_the_references(golden):
    labels = golden["post_a/inst_true"].astype(np.int64)
    # The reference leaves out nuclei within 2 px of the upper or left border, where its grown box
    # wraps around; in training they are never in the middle that counts. Ours have their distances.
    at_border = np.unique([*labels[:2].flat, *labels[:, :2].flat])
    assert set(at_border[at_border > 0]) == {6, 8, 24, 30}
    labels[np.isin(labels, at_border)] = 0
    assert_golden(hv_target(labels).transpose(1, 2, 0), golden["post_a/hv_target"])


def test_a_nucleus_at_the_border_has_distances_as_elsewhere():
    labels = np.zeros((40, 40), dtype=np.uint16)
    labels[0:9, 0:7] = 5
    inside = np.roll(labels, (12, 20), axis=(0, 1))
    np.testing.assert_array_equal(np.roll(hv_target(labels), (12, 20), (1, 2)), hv_target(inside))
    assert hv_target(labels)[:, 0, 0].tolist() == [-1, -1]


def test_each_side_is_scaled_by_its_own_extent_from_one_pixel_before_the_centre():
    labels = np.zeros((12, 12), dtype=np.int64)
    labels[2:9, 1:8] = 1  # columns 1 to 7, centre at 4: zero at 3
    x, y = hv_target(labels)
    np.testing.assert_allclose(x[5, 1:8], [-1, -0.5, 0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(y[2:9, 5], [-1, -0.5, 0, 0.25, 0.5, 0.75, 1])
    assert not x[labels == 0].any()


def test_pieces_of_a_nucleus_count_as_nuclei_and_specks_not():
    labels = np.zeros((20, 30), dtype=np.int64)
    labels[2:9, 2:9] = labels[9:16, 9:16] = 1  # they touch at a corner
    labels[2:7, 20:25] = 2  # 25 px
    x, _ = hv_target(labels)
    np.testing.assert_array_equal(x[2:9, 2:9], x[9:16, 9:16])
    assert not x[labels == 2].any()


def test_a_nucleus_across_the_edge_of_the_middle_is_measured_whole():
    labels = np.zeros((40, 40), dtype=np.int64)
    labels[5:25, 15:25] = 3  # the middle holds its lower 15 rows
    labels[29:39, 15:25] = 4  # the middle holds 10 px of it
    types = np.where(labels == 3, 2, 0)
    made = targets(labels, 20, types)
    assert list(made) == ["tp", "np", "hv"]
    np.testing.assert_array_equal(made["hv"][:, :15], hv_target(labels)[:, 10:25, 10:30])
    assert made["hv"][:, 19].any() == 0
    np.testing.assert_array_equal(made["np"], labels[10:30, 10:30] > 0)
    np.testing.assert_array_equal(made["tp"], types[10:30, 10:30])


def test_a_window_without_nuclei_has_targets_of_zero():
    made = targets(np.zeros((21, 20), dtype=np.int32), 11)
    assert list(made) == ["np", "hv"]
    assert made["hv"].shape == (2, 11, 11)
    assert not any(target.any() for target in made.values())


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels of at least 20 px a side"):
        targets(np.zeros((19, 30), int), 20)
    with pytest.raises(ValueError, match=r"types of shape \(30, 30\), got \(30, 20\)"):
        targets(np.zeros((30, 30), int), 20, np.zeros((30, 20), int))
