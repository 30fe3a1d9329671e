"""The assignment of lesions between studies, made-up and of the Deep Lesion Tracker."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest

from tumorbase.models.lesion_assignment import StudyLesions, assign_lesions, match_placed


def study(*lesions, region=None, embedding=None) -> StudyLesions:
    """Lesions given as (x, y, z, long axis), all in mm."""
    table = np.array(lesions, dtype=float).reshape(-1, 4)
    count = len(table)
    return StudyLesions(
        table[:, :3],
        table[:, 3],
        np.full((count, 2), np.nan) if embedding is None else np.array(embedding, dtype=float),
        tuple(region or [""] * count),
    )


BASELINE = study((0, 0, 0, 20), (60, 0, 0, 30), (0, 80, 40, 15))


def test_lesions_that_stay_are_matched_whatever_their_order():
    later = study((0, 82, 41, 12), (1, 1, 0, 24), (62, -3, 2, 33))
    assert set(assign_lesions(BASELINE, later).matches) == {(0, 1), (1, 2), (2, 0)}


def test_a_moved_patient_is_aligned_by_the_median_displacement():
    moved = BASELINE.position_mm + np.array([150.0, -40.0, 300.0])
    later = study(*np.column_stack([moved, BASELINE.long_axis_mm]), (400, 0, 0, 10))
    found = assign_lesions(BASELINE, later)
    assert set(found.matches) == {(0, 0), (1, 1), (2, 2)}
    np.testing.assert_allclose(found.shift_mm, [150, -40, 300])


def test_of_many_lesions_the_largest_align_the_studies():
    """Forty of 40 to 79 mm moved by 150 mm; two hundred small ones have nothing in common."""
    random = np.random.default_rng(0)
    large = np.column_stack([random.uniform(-200, 200, (40, 3)), 40.0 + np.arange(40)])
    small = np.column_stack([random.uniform(-200, 200, (400, 3)), np.full(400, 5.0)])
    moved = large + np.array([150.0, 0, 0, 0])
    found = assign_lesions(study(*small[:200], *large), study(*moved[::-1], *small[200:]))
    np.testing.assert_allclose(found.shift_mm, [150, 0, 0])
    assert {(200 + index, 39 - index) for index in range(40)} <= set(found.matches)


def test_one_distant_lesion_is_another_lesion_not_a_moved_patient():
    found = assign_lesions(study((0, 0, 0, 20)), study((150, 0, 0, 20)))
    assert found.matches == ()
    np.testing.assert_array_equal(found.shift_mm, 0)


def test_the_gate_leaves_vanished_and_new_lesions_alone():
    later = study((0, 0, 1, 20), (60, 1, 0, 30), (-90, 0, 0, 15))
    assert set(assign_lesions(BASELINE, later).matches) == {(0, 0), (1, 1)}


def test_a_node_is_matched_to_a_node():
    earlier = study((0, 0, 0, 20), region=["node"])
    later = study((0, 0, 0, 20), (15, 0, 0, 20), region=["primary", "node"])
    assert assign_lesions(earlier, later).matches == ((0, 1),)


def test_organs_agree_or_one_is_generic():
    earlier = study((0, 0, 0, 20), (80, 0, 0, 20), region=["liver", "primary"])
    later = study((0, 0, 0, 20), (80, 0, 0, 20), region=["lung", "kidney"])
    assert assign_lesions(earlier, later).matches == ((1, 1),)


def test_nearest_is_not_taken_when_the_other_then_has_none():
    """A greedy choice would match the middle one to the wrong side."""
    earlier = study((0, 0, 0, 10), (18, 0, 0, 10))
    later = study((10, 0, 0, 10), (28, 0, 0, 10))
    assert set(assign_lesions(earlier, later).matches) == {(0, 0), (1, 1)}


def test_embedding_decides_between_equal_places():
    earlier = study((0, 0, 0, 20), embedding=[[1, 0]])
    later = study((5, 0, 0, 20), (-5, 0, 0, 20), embedding=[[0, 1], [1, 0]])
    assert assign_lesions(earlier, later).matches == ((0, 1),)


def test_without_positions_embedding_and_size_decide():
    nowhere = (np.nan, np.nan, np.nan)
    earlier = study((*nowhere, 20), (*nowhere, 21), embedding=[[1, 0], [0, 1]])
    later = study((*nowhere, 19), (*nowhere, 22), embedding=[[0, 1], [1, 0]])
    assert set(assign_lesions(earlier, later).matches) == {(0, 1), (1, 0)}


def test_nothing_known_is_no_match():
    nothing = (np.nan, np.nan, np.nan, np.nan)
    assert assign_lesions(study(nothing), study(nothing)).matches == ()


def test_a_lesion_that_falls_apart_is_a_split():
    earlier = study((0, 0, 0, 40), (90, 0, 0, 15))
    later = study((-9, 0, 0, 12), (9, 0, 0, 14), (90, 0, 0, 15))
    found = assign_lesions(earlier, later)
    assert found.splits == ((0, (0, 1)),)
    assert found.matches == ((1, 2),)


def test_lesions_that_grow_together_are_merged():
    earlier = study((-9, 0, 0, 12), (9, 0, 0, 14), (90, 0, 0, 15))
    later = study((0, 0, 0, 40), (90, 0, 0, 15))
    found = assign_lesions(earlier, later)
    assert found.merges == (((0, 1), 0),)
    assert found.matches == ((2, 1),)


def test_a_new_lesion_beside_one_that_stays_is_no_split():
    found = assign_lesions(study((0, 0, 0, 20)), study((0, 0, 0, 21), (14, 0, 0, 8)))
    assert found.matches == ((0, 0),)
    assert found.splits == ()


def test_empty_studies_have_no_pairs():
    assert assign_lesions(study(), BASELINE).matches == ()
    assert assign_lesions(BASELINE, study()).matches == ()


def test_lesions_that_were_away_are_matched_by_place_alone():
    nowhere = study((np.nan, np.nan, np.nan, 20), embedding=[[1, 0]])
    assert match_placed(nowhere, nowhere) == ()
    assert match_placed(study((0, 0, 0, 20)), study((5, 0, 0, 20))) == ((0, 0),)
    assert match_placed(study((0, 0, 0, 20)), study((50, 0, 0, 20))) == ()


@pytest.fixture
def tracker_pairs(shared):
    """Deep Lesion Tracker's validation pairs, but those of two series of one study."""
    pairs = json.loads((shared / "data" / "deeplesion" / "dlt" / "valid.json").read_text())
    return [
        pair
        for pair in pairs.values()
        if pair["source"].split("_")[:2] != pair["target"].split("_")[:2]
    ]


def test_deep_lesion_tracker_pairs_are_found_by_place_and_size(tracker_pairs):
    """Source lesions at their affine prediction, among all marked lesions of the target volume."""
    targets = defaultdict(set)
    for pair in tracker_pairs:
        targets[pair["target"]].add(_lesion(pair, "target", "target center"))
        targets[pair["source"]].add(_lesion(pair, "source", "source center"))
    sources = defaultdict(list)
    for pair in tracker_pairs:
        sources[pair["source"], pair["target"]].append(pair)
    right = wrong = 0
    for (_, target), pairs in sources.items():
        candidates = sorted(targets[target])
        predicted = [_lesion(pair, "source", "predict target center") for pair in pairs]
        found = dict(assign_lesions(study(*predicted), study(*candidates)).matches)
        truth = [candidates.index(_lesion(pair, "target", "target center")) for pair in pairs]
        right += sum(found.get(row) == column for row, column in enumerate(truth))
        wrong += sum(found.get(row, column) != column for row, column in enumerate(truth))
    share = right / len(tracker_pairs)
    print(f"{len(tracker_pairs)} pairs: {share:.3f} matched rightly, {wrong} wrongly")
    assert share > 0.95
    assert wrong < 0.01 * len(tracker_pairs)


def _lesion(pair: dict, side: str, centre: str) -> tuple[float, ...]:
    """Centre and long axis in mm; the source's diameters are pixels."""
    spacing_mm = pair["target spacing" if centre.startswith("predict") else f"{side} spacing"]
    long_axis_mm = max(pair[f"{side} recist diameter"]) * pair[f"{side} spacing"][0]
    return (*(np.array(pair[centre]) * spacing_mm).tolist(), long_axis_mm)
