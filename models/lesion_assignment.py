"""Which lesions of an earlier study are which of a later one: an assignment with a gate.

A pair costs the weighted mean of what is known of both: the distance of their centroids after the
studies are aligned, the cosine distance of their embeddings and the ratio of their long axes, each
in units of the largest that is still believed. A pair that costs 1 or more is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

NODE = "node"
GENERIC_REGIONS = frozenset({"", "primary", "lesion", "unknown"})  # say nothing of the organ

POSITION_WEIGHT, EMBEDDING_WEIGHT, SIZE_WEIGHT = 0.6, 0.25, 0.15
REACH_MM = 20.0  # to which the mean radius of both is added: what breathing and growth may move
LARGEST_AXIS_RATIO = 3.0
LARGEST_EMBEDDING_DISTANCE = 1.0  # cosine: vectors at right angles have nothing in common
CONFIDENT_AXIS_RATIO = 1.5
ANCHORS = 30  # of a study, the largest: by more of them alignment would only be slower
TOUCHING_MM = 5.0  # between the outline of a lesion and the centre of a part that split off

_FORBIDDEN = 1.0


@dataclass(frozen=True)
class StudyLesions:
    """The lesions of one study, arrays in one order.

    `position_mm` is float (n, 3), LPS; `long_axis_mm` float (n,); `embedding` float (n, dim), rows
    of unit length: all NaN where unknown. `region` names "primary", "node", an organ, or "" if
    unknown.
    """

    position_mm: np.ndarray
    long_axis_mm: np.ndarray
    embedding: np.ndarray
    region: tuple[str, ...]

    def __len__(self) -> int:
        """How many lesions."""
        return len(self.region)


@dataclass(frozen=True)
class Assignment:
    """Indices of the earlier and the later study. No lesion is in two of these.

    `shift_mm` (3,) is what was added to the earlier positions to align the studies.
    """

    matches: tuple[tuple[int, int], ...]
    splits: tuple[tuple[int, tuple[int, ...]], ...]  # an earlier one, its later parts
    merges: tuple[tuple[tuple[int, ...], int], ...]  # earlier ones, the later whole
    shift_mm: np.ndarray


def assign_lesions(earlier: StudyLesions, later: StudyLesions) -> Assignment:
    """The pairs of least total cost; then splits and merges among what lies at one place."""
    is_allowed = regions_agree(earlier.region, later.region)
    shift_mm = alignment_shift(earlier, later, is_allowed)
    distance_mm = _distances(earlier.position_mm + shift_mm, later.position_mm)
    pairs = _cheapest_pairs(_costs(earlier, later, distance_mm, is_allowed))
    can_split = is_allowed & _lie_within(earlier.long_axis_mm, later.long_axis_mm, distance_mm)
    splits = _families(pairs, can_split)
    can_merge = is_allowed.T & _lie_within(later.long_axis_mm, earlier.long_axis_mm, distance_mm.T)
    can_merge[:, list(splits)] = False
    can_merge[[part for parts in splits.values() for part in parts]] = False
    merges = _families([(column, row) for row, column in pairs], can_merge)
    in_family = {*splits, *(row for parts in merges.values() for row in parts)}
    return Assignment(
        tuple((row, column) for row, column in pairs if row not in in_family),
        tuple(splits.items()),
        tuple((parts, whole) for whole, parts in merges.items()),
        shift_mm,
    )


def match_placed(earlier: StudyLesions, later: StudyLesions) -> tuple[tuple[int, int], ...]:
    """The pairs of least total cost among lesions that are already aligned and of known place.

    For lesions that were away for a study: only their place can tell that they are back.
    """
    is_allowed = regions_agree(earlier.region, later.region)
    distance_mm = _distances(earlier.position_mm, later.position_mm)
    costs = _costs(earlier, later, distance_mm, is_allowed & np.isfinite(distance_mm))
    return tuple(_cheapest_pairs(costs))


def regions_agree(earlier: tuple[str, ...], later: tuple[str, ...]) -> np.ndarray:
    """Whether two lesions may be one by their regions, bool (earlier, later).

    A node is a node; otherwise equal organs agree, and a generic region with any organ.
    """
    return np.array(
        [
            [(a == b) or (NODE not in (a, b) and bool({a, b} & GENERIC_REGIONS)) for b in later]
            for a in earlier
        ],
        dtype=bool,
    ).reshape(len(earlier), len(later))


def alignment_shift(
    earlier: StudyLesions, later: StudyLesions, is_allowed: np.ndarray
) -> np.ndarray:
    """What to add to the earlier positions, float (3,): the median displacement of confident pairs.

    Tried are no shift and the displacement of every pair alike in size among `ANCHORS` of each
    study; confident are the pairs that it brings within `REACH_MM`. A shift is believed over none
    only where it makes more pairs, and at least two: one lesion that moved is more likely two
    lesions than a moved patient.
    """
    rows, columns = _anchors(earlier), _anchors(later)
    displacement = later.position_mm[None, columns] - earlier.position_mm[rows, None]  # (e, l, 3)
    ratio = np.abs(np.log(later.long_axis_mm[None, columns] / earlier.long_axis_mm[rows, None]))
    alike = is_allowed[np.ix_(rows, columns)] & ~(ratio > np.log(CONFIDENT_AXIS_RATIO))
    moves = displacement[alike]
    if len(moves) < 2:
        return np.zeros(3)
    best, most = np.zeros(3), 1
    for shift in (np.zeros(3), *moves):
        found = _mutual_nearest(np.linalg.norm(displacement - shift, axis=2), alike)
        if found.sum() > most:
            best, most = np.median(displacement[found], axis=0), int(found.sum())
    return best


def _anchors(lesions: StudyLesions) -> np.ndarray:
    """Indices of the largest lesions of known place, in their order."""
    placed = np.flatnonzero(np.isfinite(lesions.position_mm).all(axis=1))
    smallest_first = np.argsort(np.nan_to_num(lesions.long_axis_mm[placed]), kind="stable")
    return np.sort(placed[smallest_first[-ANCHORS:]])


def _mutual_nearest(distance_mm: np.ndarray, is_allowed: np.ndarray) -> np.ndarray:
    """Pairs within reach of which each is the other's nearest, bool (earlier, later)."""
    distance = np.where(is_allowed, distance_mm, np.inf)
    nearest = distance == distance.min(axis=1, keepdims=True)
    nearest &= distance == distance.min(axis=0, keepdims=True)
    return nearest & (distance <= REACH_MM)


def _distances(earlier_mm: np.ndarray, later_mm: np.ndarray) -> np.ndarray:
    """Distances of all pairs, (earlier, later), NaN where a position is unknown."""
    return np.linalg.norm(later_mm[None, :, :] - earlier_mm[:, None, :], axis=2)


def _costs(
    earlier: StudyLesions, later: StudyLesions, distance_mm: np.ndarray, is_allowed: np.ndarray
) -> np.ndarray:
    """Cost of each pair in [0, 1], (earlier, later); 1 for a pair that cannot be."""
    radius_mm = np.nan_to_num(earlier.long_axis_mm[:, None] + later.long_axis_mm[None, :]) / 4
    ratio = np.abs(np.log(later.long_axis_mm[None, :] / earlier.long_axis_mm[:, None]))
    terms = np.stack(
        [
            distance_mm / (REACH_MM + radius_mm),
            (1 - earlier.embedding @ later.embedding.T) / LARGEST_EMBEDDING_DISTANCE,
            ratio / np.log(LARGEST_AXIS_RATIO),
        ]
    )
    weights = np.array([POSITION_WEIGHT, EMBEDDING_WEIGHT, SIZE_WEIGHT])[:, None, None]
    weights = np.where(np.isfinite(terms), weights, 0.0)
    total = (weights * np.nan_to_num(terms)).sum(axis=0)
    known = weights.sum(axis=0)
    cost = np.where(known > 0, total / np.where(known > 0, known, 1.0), _FORBIDDEN)
    is_far = terms[0] > 1  # however alike they look
    return np.where(is_allowed & ~is_far, np.minimum(cost, _FORBIDDEN), _FORBIDDEN)


def _cheapest_pairs(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of the assignment of least total cost, without those at the gate.

    All pairs at the gate cost alike, so leaving two lesions alone costs as much as such a pair.
    """
    rows, columns = linear_sum_assignment(cost)
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if cost[row, column] < _FORBIDDEN
    ]


def _lie_within(
    whole_axis_mm: np.ndarray, part_axis_mm: np.ndarray, distance_mm: np.ndarray
) -> np.ndarray:
    """Whether a part's centre lies where the whole is, and it is smaller, bool (wholes, parts)."""
    is_near = distance_mm <= whole_axis_mm[:, None] / 2 + TOUCHING_MM
    return is_near & (part_axis_mm[None, :] < whole_axis_mm[:, None])


def _families(pairs: list[tuple[int, int]], is_part: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Wholes with at least two parts that are matched to no other lesion, nearest claims first."""
    owner = {part: whole for whole, part in pairs}
    families: dict[int, tuple[int, ...]] = {}
    taken: set[int] = set()
    for whole in range(is_part.shape[0]):
        partner = [part for row, part in pairs if row == whole]
        if partner and not is_part[whole, partner[0]]:
            continue  # it is there still, as large as before: what is beside it is another lesion
        parts = tuple(
            int(part)
            for part in np.flatnonzero(is_part[whole])
            if owner.get(int(part), whole) == whole and int(part) not in taken
        )
        if len(parts) > 1:
            families[whole] = parts
            taken.update(parts)
    return families
