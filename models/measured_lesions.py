"""Which lesions measured by hand are which drawn ones of the same study.

Both are of one scan, so place tells: the point of a measured lesion lies in the drawn one, of which
the bounding box is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tumorbase.models.lesion_assignment import GENERIC_REGIONS, LARGEST_AXIS_RATIO, regions_agree
from tumorbase.models.recist import TOO_SMALL_MM

NEAR_MM = 5.0  # around the box: points are set by hand, and a slice may be as thick

_FORBIDDEN = 3.0  # more than any pair that can be


@dataclass(frozen=True)
class MeasuredLesions:
    """Float (n, 3) and (n,), NaN where unknown; a long axis of 0 says that the lesion is gone."""

    position_mm: np.ndarray  # (x, y, z) in LPS
    long_axis_mm: np.ndarray
    region: tuple[str, ...]  # as of `StudyLesions`


@dataclass(frozen=True)
class DrawnLesions:
    """Float (n, 2, 3) and (n,), NaN where unknown."""

    box_mm: np.ndarray  # least and greatest (x, y, z) in LPS
    long_axis_mm: np.ndarray
    region: tuple[str, ...]


def match_measured(measured: MeasuredLesions, drawn: DrawnLesions) -> tuple[tuple[int, int], ...]:
    """Pairs of indices (measured, drawn) that are one lesion; no index is in two of them.

    A point matches where it lies in the box or within `NEAR_MM` of it, relative to the box's size
    the nearest first. It does not where the drawn lesion is more than `LARGEST_AXIS_RATIO` times
    as long: small lesions lie in the boxes of large ones. A measured lesion of unknown place
    matches what is left by the ratio of the long axes, as from study to study. A measured region
    that says no organ agrees with any.
    """
    low_mm, high_mm = drawn.box_mm[:, 0], drawn.box_mm[:, 1]
    offset_mm = np.abs(measured.position_mm[:, None] - (low_mm + high_mm) / 2)  # (m, d, 3)
    apart = (offset_mm / ((high_mm - low_mm) / 2 + NEAR_MM)).max(axis=2)  # 1 at the gate
    # What is gone and yet drawn was too small to be measured.
    least_mm = np.maximum(measured.long_axis_mm, TOO_SMALL_MM)
    ratio = np.log(drawn.long_axis_mm / least_mm[:, None]) / np.log(LARGEST_AXIS_RATIO)
    agree = regions_agree(measured.region, drawn.region)
    is_generic = np.array([region in GENERIC_REGIONS for region in measured.region], dtype=bool)
    by_place = (apart <= 1) & ~(ratio > 1) & (agree | is_generic[:, None])
    by_size = np.isnan(apart) & (np.abs(ratio) <= 1) & agree & (measured.long_axis_mm > 0)[:, None]
    cost = np.where(by_place, apart, np.where(by_size, 1 + np.abs(ratio), _FORBIDDEN))
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return tuple((int(row), int(column)) for row, column in pairs if cost[row, column] < _FORBIDDEN)
