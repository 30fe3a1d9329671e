"""Scores of label maps against the reference's numbers and counts made by hand."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from golden import assert_golden
from tumorbase.models.instance_metrics import instance_scores


def shifted_nuclei() -> tuple[np.ndarray, np.ndarray]:
    """Two true nuclei of 100 px and their predictions, shifted by 2 and 5 columns, and a speck."""
    truth = np.zeros((10, 40), dtype=int)
    truth[:, 0:10], truth[:, 20:30] = 5, 9
    predicted = np.zeros_like(truth)
    predicted[:, 2:12] = 1  # intersection over union 80 / 120
    predicted[:, 25:35] = 2  # 50 / 150
    predicted[0, 39] = 3
    return truth, predicted


def test_scores_are_the_references(shared):
    golden = np.load(shared / "reference" / "hovernet" / "golden.npz")
    scores = instance_scores(golden["post_a/inst_true"], golden["post_a/inst_map"])
    assert_golden(np.array(astuple(scores)[:7]), golden["post_a/metrics"])


def test_scores_of_shifted_nuclei_are_those_counted_by_hand():
    scores = instance_scores(*shifted_nuclei())
    assert (scores.precision, scores.recall) == (1 / 3, 1 / 2)
    assert scores.dq == pytest.approx(2 / 5)
    assert scores.sq == pytest.approx(2 / 3)
    assert scores.pq == pytest.approx(4 / 15)
    assert scores.dice == scores.ensemble_dice * 400 / 401 == pytest.approx(260 / 401)
    assert scores.aji == scores.aji_plus == pytest.approx(130 / (120 + 150 + 1))


def test_at_a_higher_overlap_nothing_matches():
    scores = instance_scores(*shifted_nuclei(), match_iou=0.7)
    assert (scores.dq, scores.sq, scores.pq) == (0.0, 0.0, 0.0)
    assert scores.aji > 0


def test_half_a_nucleus_is_no_match():
    scores = instance_scores(np.ones((2, 2), dtype=int), np.array([[1, 1], [2, 2]]))
    assert (scores.dq, scores.precision, scores.recall) == (0.0, 0.0, 0.0)


def test_a_prediction_over_two_nuclei_serves_both_in_aji_and_one_in_aji_plus():
    truth = np.array([[1, 1, 1, 2, 2, 0]])
    predicted = np.array([[4, 4, 4, 4, 4, 0]])
    scores = instance_scores(truth, predicted)
    assert scores.aji == pytest.approx((3 + 2) / (5 + 5))
    assert scores.aji_plus == pytest.approx(3 / (5 + 2))
    assert scores.ensemble_dice == pytest.approx(2 * 5 / (8 + 7))


def test_aji_plus_pairs_at_the_best_total_overlap():
    random = np.random.default_rng(0)
    truth = np.kron(random.permutation(30).reshape(5, 6), np.ones((7, 7), dtype=int))
    predicted = np.roll(truth, (3, 4), axis=(0, 1))
    shared = np.zeros((30, 30))
    np.add.at(shared, (truth, predicted), 1)
    shared = shared[1:, 1:]
    union = np.bincount(truth.flat)[1:, None] + np.bincount(predicted.flat)[1:] - shared
    iou = shared / union
    true, paired = linear_sum_assignment(-iou)
    true, paired = true[iou[true, paired] > 0], paired[iou[true, paired] > 0]
    alone = 2 * 29 * 49 - (shared + union)[true, paired].sum()
    expected = shared[true, paired].sum() / (union[true, paired].sum() + alone)
    assert instance_scores(truth, predicted).aji_plus == pytest.approx(expected)


def test_same_nuclei_under_other_numbers_score_one():
    truth = np.array([[0, 7, 7], [3, 3, 0]])
    scores = instance_scores(truth, np.array([[0, 1, 1], [900, 900, 0]]))
    assert set(astuple(scores)) == {1.0}


def test_maps_without_background_are_scored():
    full = np.array([[1, 1, 2, 2]])
    assert set(astuple(instance_scores(full, full))) == {1.0}


def test_empty_maps_score_one_and_one_empty_map_scores_zero():
    empty, one = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    assert set(astuple(instance_scores(empty, empty))) == {1.0}
    assert set(astuple(instance_scores(empty, one))) == {0.0}
    assert set(astuple(instance_scores(one, empty))) == {0.0}


def test_nuclei_that_never_meet_score_zero():
    apart = np.array([[1, 1, 0, 0], [0, 0, 2, 2]])
    assert set(astuple(instance_scores(apart, apart[::-1]))) == {0.0}


def test_maps_of_two_shapes_and_low_iou_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        instance_scores(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="match_iou must be in"):
        instance_scores(np.zeros((2, 2), int), np.zeros((2, 2), int), match_iou=0.4)
