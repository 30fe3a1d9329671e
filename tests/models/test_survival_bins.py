"""Time bins equal those that MCAT was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.survival_bins import bin_classes, sampling_weights, time_bins, time_edges


@pytest.mark.parametrize("cohort", ["tcga_blca", "tcga_luad"])
def test_edges_bins_and_classes_of_tcga_are_golden(shared, cohort) -> None:
    golden = np.load(shared / "reference" / "mcat" / "golden_bins.npz")
    months, censored = golden[f"{cohort}/survival_months"], golden[f"{cohort}/censorship"]
    edges = time_edges(months, censored)
    np.testing.assert_allclose(edges, golden[f"{cohort}/bins"], rtol=1e-12)
    bins = time_bins(months, edges)
    np.testing.assert_array_equal(bins, golden[f"{cohort}/disc_label"])
    np.testing.assert_array_equal(bin_classes(bins, censored), golden[f"{cohort}/label8"])


@pytest.mark.parametrize("events", [4, 5, 6, 7, 9, 40])
def test_every_bin_has_an_event(events) -> None:
    time = np.cumsum(np.arange(1.0, events + 1) ** 2)
    counts = np.bincount(time_bins(time, time_edges(time, np.zeros(events))), minlength=4)
    assert counts.min() >= events // 4
    assert counts.max() <= -(-events // 4)


def test_a_time_on_an_edge_is_in_the_bin_that_begins_there() -> None:
    edges = time_edges(np.array([1.0, 2.0, 3.0]), np.zeros(3), bins=2)
    assert edges[1] == 2.0
    np.testing.assert_array_equal(time_bins(np.array([1.0, 1.99, 2.0, 3.0]), edges), [0, 0, 1, 1])


def test_censored_times_move_the_outer_edges_only() -> None:
    time, censored = np.array([5.0, 6.0, 7.0, 90.0]), np.array([0, 0, 0, 1])
    np.testing.assert_allclose(time_edges(time, censored, bins=2), [5.0, 6.0, 90.0], atol=1e-5)


def test_new_patients_beyond_the_edges_are_in_the_outer_bins() -> None:
    edges = time_edges(np.array([1.0, 2.0, 3.0]), np.zeros(3), bins=2)
    np.testing.assert_array_equal(time_bins(np.array([0.0, 100.0]), edges), [0, 1])


def test_every_class_is_drawn_equally_often() -> None:
    classes = np.array([0, 0, 0, 5, 7, 7])
    weights = sampling_weights(classes)
    np.testing.assert_allclose(weights, [2, 2, 2, 6, 3, 3])
    assert len({weights[classes == c].sum() for c in (0, 5, 7)}) == 1


@pytest.mark.parametrize(
    ("time", "censored", "message"),
    [
        ([1.0, 2.0], [1, 1], "at least 4 events for 4 bins, got 0"),
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 0], "at least 4 events for 4 bins, got 3"),
        ([2.0, 2.0, 2.0, 9.0], [0, 0, 0, 0], "the times of 4 events are too alike for 4 bins"),
    ],
)
def test_times_that_make_no_bins_are_refused(time, censored, message) -> None:
    with pytest.raises(ValueError, match=message):
        time_edges(np.array(time), np.array(censored))
