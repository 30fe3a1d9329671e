"""RECIST 1.1 by the rules and tables of Eisenhauer et al. 2009."""

from __future__ import annotations

import math

import pytest

from tumorbase.models.recist import (
    Assessment,
    BaselineLesion,
    diameter_mm,
    responses,
    select_targets,
)


def lesion(organ: str, long_mm: float) -> BaselineLesion:
    """A lesion that is no node."""
    return BaselineLesion(organ, False, long_mm, long_mm / 2)


def node(short_mm: float) -> BaselineLesion:
    """A node, half as wide as long."""
    return BaselineLesion("node", True, 2 * short_mm, short_mm)


def seen(*other_mm: float, node_mm=(), new=False, non_target=False) -> Assessment:
    """One study."""
    return Assessment(tuple(node_mm), tuple(other_mm), new, non_target)


def names(*assessments: Assessment, has_targets: bool = True) -> list[str]:
    """The responses by name."""
    return [each.response for each in responses(assessments, has_targets)]


def test_at_most_five_targets_and_two_an_organ_largest_first():
    lesions = [lesion("liver", size) for size in (30, 20, 40)]
    lesions += [lesion("lung", 15), lesion("lung", 12), lesion("kidney", 11), node(18), node(16)]
    # Liver 40 and 30, then node 18 and 16, then lung 15: five.
    assert select_targets(lesions) == [2, 0, 6, 7, 3]


def test_targets_are_measurable():
    assert select_targets([lesion("liver", 9.9), lesion("lung", 10.0)]) == [1]
    assert select_targets([node(14.9), node(15.0)]) == [1]
    assert select_targets([lesion("liver", math.nan)]) == []
    on_thick_slices = [BaselineLesion("liver", False, size, 9, 7.5) for size in (14.9, 15.0)]
    assert select_targets([*on_thick_slices, BaselineLesion("lung", False, 10.0, 9, 5.0)]) == [1, 2]


def test_node_counts_by_its_short_axis():
    assert diameter_mm(True, 30.0, 18.0) == 18.0
    assert diameter_mm(False, 30.0, 18.0) == 30.0


def test_lesion_seen_but_too_small_counts_five_mm():
    assert diameter_mm(False, math.nan, math.nan) == 5.0


def test_node_of_which_only_the_long_axis_is_known_is_not_evaluable():
    assert math.isnan(diameter_mm(True, 30.0, math.nan))
    assert names(seen(node_mm=[18.0]), seen(node_mm=[diameter_mm(True, 30.0, math.nan)]))[1] == "NE"


def test_thirty_percent_less_than_baseline_is_partial_response():
    assert names(seen(100), seen(70), seen(70.1)) == ["baseline", "PR", "SD"]


def test_exactly_thirty_percent_less_and_twenty_more_count_however_floats_round():
    assert names(seen(90), seen(63), seen(63.1)) == ["baseline", "PR", "SD"]
    assert names(seen(20.1, 30.1, 40.1), seen(63.21))[1] == "PR"
    assert names(seen(30.1, 20.1), seen(60.24))[1] == "PD"
    assert names(seen(20.1), seen(25.1))[1] == "PD"
    assert names(seen(90), seen(107.9))[1] == "SD"


def test_progression_is_measured_from_the_nadir_not_the_baseline():
    """Section 4.3.1: the reference is the smallest sum on study."""
    found = responses([seen(100), seen(50), seen(60)], has_targets=True)
    assert [each.response for each in found] == ["baseline", "PR", "PD"]
    assert [each.nadir_mm for each in found] == [100, 100, 50]


def test_progression_needs_five_mm_beside_twenty_percent():
    """Section 4.3.1: the sum must also demonstrate an absolute increase of at least 5 mm."""
    assert names(seen(20), seen(24.9))[1] == "SD"
    assert names(seen(20), seen(25))[1] == "PD"
    assert names(seen(100), seen(119.9))[1] == "SD"


def test_a_new_lesion_is_progression_whatever_the_sum():
    assert names(seen(100), seen(40, new=True))[1] == "PD"


def test_complete_response_needs_all_targets_gone_and_nodes_below_ten_mm():
    """Section 4.3.2: with nodes as targets the sum need not be zero in complete response."""
    assert names(seen(30, node_mm=[20]), seen(0, node_mm=[9.9]))[1] == "CR"
    assert names(seen(30, node_mm=[20]), seen(node_mm=[9.9]))[1] == "CR"
    assert names(seen(30, node_mm=[20]), seen(node_mm=[10]))[1] == "PR"
    assert names(seen(30, node_mm=[20]), seen(5, node_mm=[0]))[1] == "PR"


def test_non_targets_left_turn_complete_into_partial_response():
    """Table 1, second line: target CR, non-target non-CR/non-PD, no new lesion."""
    assert names(seen(50, non_target=True), seen(non_target=True))[1] == "PR"


def test_return_after_complete_response_is_progression():
    assert names(seen(50), seen(), seen(12)) == ["baseline", "CR", "PD"]


def test_unmeasured_target_is_not_evaluable_unless_the_rest_progresses():
    assert names(seen(50, 20), seen(50, math.nan))[1] == "NE"
    assert names(seen(50, 20), seen(85, math.nan))[1] == "PD"


def test_study_that_is_not_evaluable_leaves_the_nadir():
    found = responses([seen(50), seen(math.nan), seen(62)], has_targets=True)
    assert [each.response for each in found] == ["baseline", "NE", "PD"]
    assert found[2].nadir_mm == 50


@pytest.mark.parametrize(
    ("assessment", "expected"),
    [
        (seen(non_target=True), "non-CR/non-PD"),
        (seen(), "CR"),
        (seen(new=True, non_target=True), "PD"),
    ],
)
def test_without_targets_table_two_holds(assessment, expected):
    assert names(seen(non_target=True), assessment, has_targets=False)[1] == expected


def test_no_study_has_no_response():
    assert responses([], has_targets=False) == []


def test_non_target_that_comes_back_after_complete_response_is_progression():
    found = names(seen(50, non_target=True), seen(), seen(non_target=True))
    assert found == ["baseline", "CR", "PD"]
