"""Planted links between studies: what a lesion is, or becomes a part of, when next seen."""

from __future__ import annotations

from tumorbase.server.demo.comparison import _planted_links
from tumorbase.server.demo.phantom_truth import LesionTruth


def _lesion(study: int, track_id: str, *parents: str) -> LesionTruth:
    return LesionTruth(
        "P", f"P-CT{study}", track_id, parents, "liver", "primary", 0.0, 0.0, 0.0, 10.0, 500.0
    )


def test_a_lesion_is_linked_with_itself():
    assert _planted_links([_lesion(1, "A"), _lesion(2, "A"), _lesion(3, "A")]) == {(0, 1), (1, 2)}


def test_a_merged_lesion_is_linked_with_both_it_was_made_of():
    lesions = [_lesion(1, "A"), _lesion(1, "B"), _lesion(2, "C", "A", "B")]
    assert _planted_links(lesions) == {(0, 2), (1, 2)}


def test_both_parts_of_a_split_lesion_are_linked_with_it():
    lesions = [_lesion(1, "A"), _lesion(2, "B", "A"), _lesion(2, "C", "A")]
    assert _planted_links(lesions) == {(0, 1), (0, 2)}


def test_a_new_lesion_is_linked_with_none():
    assert _planted_links([_lesion(1, "A"), _lesion(2, "B")]) == set()
