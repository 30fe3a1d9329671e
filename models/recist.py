"""Tumour response by RECIST 1.1 (Eisenhauer et al. 2009, Eur J Cancer 45:228-247)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MEASURABLE_LONG_MM = 10.0  # section 3.1.1, CT with slices of 5 mm or less
THICK_SLICE_MM = 5.0  # a lesion on thicker ones is measurable from twice their thickness on
TARGET_NODE_SHORT_MM = 15.0  # section 3.1.1
NORMAL_NODE_SHORT_MM = 10.0  # below it a node is not pathological, section 3.1.1
TOO_SMALL_MM = 5.0  # for a lesion that is seen and cannot be measured, section 4.3.2
MAX_TARGETS = 5
MAX_TARGETS_AN_ORGAN = 2
PARTIAL_RESPONSE = 0.70  # of the baseline sum: a decrease of at least 30 %
PROGRESSION = 1.20  # of the nadir: an increase of at least 20 %
PROGRESSION_MM = 5.0  # and of at least this
_ROUNDING_MM = 1e-6  # 0.7 times 90 mm is less than 63 mm in floating point
NON_CR_NON_PD = "non-CR/non-PD"  # without target lesions, table 2


@dataclass(frozen=True)
class BaselineLesion:
    """A lesion at baseline; axes in the axial plane, NaN where not measured; slices as well."""

    organ: str
    is_node: bool
    long_axis_mm: float
    short_axis_mm: float
    slice_mm: float = np.nan

    @property
    def diameter_mm(self) -> float:
        """What counts of it: the short axis of a node, else the long axis."""
        return self.short_axis_mm if self.is_node else self.long_axis_mm

    @property
    def is_measurable(self) -> bool:
        """Whether it is large enough to be a target (section 3.1.1)."""
        if self.is_node:
            return self.diameter_mm >= TARGET_NODE_SHORT_MM
        is_thick = self.slice_mm > THICK_SLICE_MM
        return self.diameter_mm >= (2 * self.slice_mm if is_thick else MEASURABLE_LONG_MM)


@dataclass(frozen=True)
class Assessment:
    """What was seen at one study.

    `node_mm` and `other_mm` are the diameters of target nodes (short axis) and of the other targets
    (long axis) that are there, NaN for one that was not measured and may be there.
    `has_new_lesion` means unequivocal and not there at baseline; `has_non_target` that a non-target
    lesion is left, not counting nodes of normal size.
    """

    node_mm: tuple[float, ...]
    other_mm: tuple[float, ...]
    has_new_lesion: bool
    has_non_target: bool

    @property
    def sum_mm(self) -> float:
        """Sum of the diameters of the targets, NaN if one is not known."""
        return float(sum(self.node_mm) + sum(self.other_mm))


@dataclass(frozen=True)
class Response:
    """Of one study: sum of diameters, the smallest sum before it, and the overall response.

    CR, PR, SD, PD, NE, "baseline", or without targets "non-CR/non-PD". The nadir includes the
    baseline, of which it is the sum itself.
    """

    sum_mm: float
    nadir_mm: float
    response: str


def diameter_mm(is_node: bool, long_axis_mm: float, short_axis_mm: float) -> float:
    """What counts of a lesion that is seen: the short axis of a node, else the long axis.

    Section 4.3.2: a lesion too small to be measured, of which both are NaN, counts as 5 mm. NaN if
    only the axis that counts is not known.
    """
    if np.isnan(long_axis_mm) and np.isnan(short_axis_mm):
        return TOO_SMALL_MM
    return float(short_axis_mm if is_node else long_axis_mm)


def select_targets(lesions: Sequence[BaselineLesion]) -> list[int]:
    """Indices of the target lesions, largest first: measurable, five in all, two an organ (4.2).

    All nodes count as one organ.
    """
    measurable = [index for index, lesion in enumerate(lesions) if lesion.is_measurable]
    chosen: list[int] = []
    for index in sorted(measurable, key=lambda index: -lesions[index].diameter_mm):
        of_organ = sum(_organ(lesions[other]) == _organ(lesions[index]) for other in chosen)
        if of_organ < MAX_TARGETS_AN_ORGAN and len(chosen) < MAX_TARGETS:
            chosen.append(index)
    return chosen


def responses(assessments: Sequence[Assessment], has_targets: bool) -> list[Response]:
    """The response at each study in their order, of which the first is the baseline (4.3, table 1).

    Each is that of its time point: best response and confirmation are not asked.
    """
    if not assessments:
        return []
    baseline_mm = assessments[0].sum_mm
    found = [Response(baseline_mm, baseline_mm, "baseline")]
    nadir_mm = baseline_mm
    for assessment in assessments[1:]:
        overall = _overall(assessment, baseline_mm, nadir_mm, has_targets)
        if found[-1].response == "CR" and assessment.has_non_target:
            overall = (
                "PD"  # a lesion that comes back after complete response (Schwartz et al. 2016)
            )
        found.append(Response(assessment.sum_mm, nadir_mm, overall))
        nadir_mm = float(np.fmin(nadir_mm, assessment.sum_mm))
    return found


def _overall(assessment: Assessment, baseline_mm: float, nadir_mm: float, has_targets: bool) -> str:
    """The overall response of one study after the baseline (tables 1 and 2)."""
    if assessment.has_new_lesion:
        return "PD"
    if not has_targets:
        return NON_CR_NON_PD if assessment.has_non_target else "CR"
    target = _target_response(assessment, baseline_mm, nadir_mm)
    # Targets gone, others left: a partial response.
    return "PR" if target == "CR" and assessment.has_non_target else target


def _target_response(assessment: Assessment, baseline_mm: float, nadir_mm: float) -> str:
    """The response of the targets alone (section 4.3.1)."""
    known_mm = float(np.nansum([*assessment.node_mm, *assessment.other_mm]))
    # What is known may suffice for progression, whatever the rest measures.
    increase_mm = max(PROGRESSION_MM, (PROGRESSION - 1) * nadir_mm)
    if known_mm - nadir_mm >= increase_mm - _ROUNDING_MM:
        return "PD"
    if np.isnan(assessment.sum_mm):
        return "NE"
    if not any(assessment.other_mm) and all(
        node < NORMAL_NODE_SHORT_MM for node in assessment.node_mm
    ):
        return "CR"
    return "PR" if known_mm <= PARTIAL_RESPONSE * baseline_mm + _ROUNDING_MM else "SD"


def _organ(lesion: BaselineLesion) -> str:
    return "node" if lesion.is_node else lesion.organ
