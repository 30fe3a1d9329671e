"""F1 of typed nuclei against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.nucleus_type_metrics import pair_types, type_scores

NO_CENTROIDS, NO_TYPES = np.zeros((0, 2)), np.zeros(0, dtype=int)


def row(*x: float) -> np.ndarray:
    """Centroids along one row."""
    return np.array([[float(place), 50.0] for place in x])


def test_scores_are_those_counted_by_hand():
    # Type 1 is found right twice, once called 2, once missed; type 2 is found right once, and once
    # where nothing is.
    pairs = pair_types(
        row(0, 100, 200, 300, 400),
        np.array([1, 1, 1, 1, 2]),
        row(3, 112, 205, 350, 401),
        np.array([1, 1, 2, 2, 2]),
    )
    scores = type_scores([pairs])
    assert scores.detection_f1 == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert scores.f1 == {
        1: pytest.approx(2 * 2 / (2 * 2 + 2 * 1 + 1)),
        2: pytest.approx(2 * 1 / (2 * 1 + 2 * 1 + 1)),
    }


def test_nuclei_pair_within_twelve_pixels_and_no_further():
    assert len(pair_types(row(0), np.array([1]), row(12), np.array([1])).true) == 1
    apart = pair_types(row(0), np.array([1]), row(12.1), np.array([3]))
    assert (apart.true.size, apart.missed.tolist(), apart.spurious.tolist()) == (0, [1], [3])


def test_far_pairs_are_dissolved_after_pairing():
    # Alone, 0 and 10 would be a pair; the smallest total pairs 0 with -30 and 40 with 10.
    pairs = pair_types(row(0, 40), np.array([1, 1]), row(10, -30), np.array([1, 1]))
    assert pairs.true.size == 0


def test_images_count_together():
    found = pair_types(row(0), np.array([1]), row(0), np.array([1]))
    missed = pair_types(row(0), np.array([1]), NO_CENTROIDS, NO_TYPES)
    scores = type_scores([found, missed])
    assert scores.f1 == {1: pytest.approx(2 / 3)}
    assert scores.detection_f1 == pytest.approx(2 / 3)


def test_no_nuclei_have_no_score():
    with pytest.raises(ValueError, match="at least one nucleus"):
        type_scores([pair_types(NO_CENTROIDS, NO_TYPES, NO_CENTROIDS, NO_TYPES)])
