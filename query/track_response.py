"""RECIST 1.1 over a patient's tracks: which lesions are targets, and the sum of each study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tumorbase.models.lesion_assignment import GENERIC_REGIONS, NODE
from tumorbase.models.recist import (
    NORMAL_NODE_SHORT_MM,
    TOO_SMALL_MM,
    Assessment,
    BaselineLesion,
    diameter_mm,
    responses,
    select_targets,
)
from tumorbase.query.answers import StudySum
from tumorbase.query.study_lesions import Lesion, region_of


@dataclass(frozen=True)
class Followed:
    """One lesion in one study (an index from 0), and the tracks that it comes from."""

    roots: frozenset[str]
    study: int
    lesion: Lesion
    change: str


def _organ_of(lesion: Lesion) -> str:
    """The region, or the source's type where the region says no organ; "" if neither is known."""
    region = region_of(lesion)
    return lesion["type"] if region in GENERIC_REGIONS and lesion["type"] else region


def target_roots(followed: Sequence[Followed]) -> frozenset[str]:
    """Tracks of the target lesions, chosen among the lesions of the first study."""
    baseline = [each for each in followed if each.study == 0]
    chosen = select_targets(
        [
            BaselineLesion(
                _organ_of(each.lesion),
                _is_node(each.lesion),
                _number(each.lesion["long_axis_mm"]),
                _number(each.lesion["short_axis_mm"]),
                _number(each.lesion["spacing_z_mm"]),
            )
            for each in baseline
        ]
    )
    return frozenset[str]().union(*(baseline[index].roots for index in chosen))


def response_sums(
    studies: Sequence[Lesion], followed: Sequence[Followed], targets: frozenset[str]
) -> tuple[StudySum, ...]:
    """The sum and response of each study, given by one of its lesions.

    Parts of a target that split count by the sum of their diameters, merged targets by that of the
    whole (section 4.3.2). A new lesion is progression if it is unequivocal: of 5 mm at least, a
    node of 10 mm; and it stays progression in later studies in which it is there.
    """
    baseline = frozenset[str]().union(*(each.roots for each in followed if each.study == 0))
    by_study = [[each for each in followed if each.study == study] for study in range(len(studies))]
    found = responses([_assess(seen, baseline, targets) for seen in by_study], bool(targets))
    return tuple(
        StudySum(
            study_id=row["study_id"],
            study_date=row["study_date"].date().isoformat() if row["study_date"] else "",
            sum_mm=each.sum_mm,
            response=each.response,
            nadir_mm=each.nadir_mm,
            new_lesions=sum(each.change == "new" for each in seen) if study else 0,
        )
        for study, (row, each, seen) in enumerate(zip(studies, found, by_study, strict=True))
    )


def _assess(
    seen: Sequence[Followed], baseline: frozenset[str], targets: frozenset[str]
) -> Assessment:
    # Where no lesion at all has an axis, none was measured: that is not the same as too small.
    is_measured = any(each.lesion["long_axis_mm"] is not None for each in seen)
    of_targets = [each.lesion for each in seen if each.roots & targets]
    others = [each for each in seen if not each.roots & targets]
    return Assessment(
        node_mm=tuple(_diameter(row, is_measured) for row in of_targets if _is_node(row)),
        other_mm=tuple(_diameter(row, is_measured) for row in of_targets if not _is_node(row)),
        has_new_lesion=any(
            _diameter(each.lesion)
            >= (NORMAL_NODE_SHORT_MM if _is_node(each.lesion) else TOO_SMALL_MM)
            for each in others
            if not each.roots & baseline
        ),
        has_non_target=any(
            not _is_node(each.lesion) or _diameter(each.lesion) >= NORMAL_NODE_SHORT_MM
            for each in others
            if each.roots & baseline
        ),
    )


def _diameter(lesion: Lesion, is_measured: bool = True) -> float:
    if not is_measured:
        return np.nan
    axes = (_number(lesion["long_axis_mm"]), _number(lesion["short_axis_mm"]))
    return diameter_mm(_is_node(lesion), *axes)


def _is_node(lesion: Lesion) -> bool:
    return region_of(lesion) == NODE


def _number(value: float | None) -> float:
    return np.nan if value is None else value
