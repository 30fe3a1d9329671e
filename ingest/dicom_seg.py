"""Masks of the segments of a DICOM SEG, on the grid of its series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tumorbase.ingest.dicom_header import read_dataset, refuse_damage
from tumorbase.ingest.mask_lesions import LabelMask
from tumorbase.ingest.mask_region import names_lesion, names_other, region_of
from tumorbase.ingest.volume import GRID_TOLERANCE, Grid, turn_to_lps
from tumorbase.store.errors import BadInput

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

# Categories of segments (DICOM CID 7150 and its predecessors) in SNOMED CT and SRT.
_MORPHOLOGICALLY_ALTERED = ("49755003", "M-01000")
_ANATOMY = ("91723000", "123037004", "91772007", "T-D000A")  # structures of the body, organs


def read_seg(path: str, grid: Grid) -> list[LabelMask]:
    """One mask for each segment that is a lesion, by its category, type or label; else for those
    that say of themselves nothing else. None where all are organs.

    Fractional segments count from one half. The segment's label becomes the type.

    Raises:
        BadInput: truncated, no segment with a voxel, or frames that do not fit the series' grid.
    """
    with refuse_damage(path):
        segmentation = _open(path)
        segments = [
            segmentation.get_segment_description(int(number))
            for number in segmentation.segment_numbers
        ]
    lesions = [segment for segment in segments if _is_lesion(segment)]
    masks = []
    for segment in lesions or [one for one in segments if not _is_other(one)]:
        mask = _on_grid(path, segmentation, segment.segment_number, grid)
        masks.append(LabelMask(path, region_of(_names(segment)), mask, {1: segment.segment_label}))
    return masks


def _names(segment: SegmentDescription) -> str:
    """The segment's label and what type it is said to be."""
    return f"{segment.segment_label} {segment.segmented_property_type.meaning}"


def _is_lesion(segment: SegmentDescription) -> bool:
    category = segment.segmented_property_category.value
    return category in _MORPHOLOGICALLY_ALTERED or names_lesion(_names(segment))


def _is_other(segment: SegmentDescription) -> bool:
    category = segment.segmented_property_category.value
    return category in _ANATOMY or names_other(_names(segment))


def _open(path: str) -> Segmentation:
    # highdicom takes half a second to import, and few series come with a SEG.
    from highdicom.seg import Segmentation

    dataset = read_dataset(path)
    if "PixelData" not in dataset or "SegmentSequence" not in dataset:
        raise BadInput(path, "truncated SEG: the file ends before or within its pixels")
    return Segmentation.from_dataset(dataset, copy=False)


def _on_grid(path: str, segmentation: Segmentation, number: int, grid: Grid) -> np.ndarray:
    """The segment as bool (z, y, x) on the series' grid; its frames may cover a part of it."""
    with refuse_damage(path):
        volume = segmentation.get_volume(segment_numbers=[number], allow_missing_positions=True)
    # highdicom indexes (slice, row, column); turned to (x, y, z).
    affine = volume.affine[:, [2, 1, 0, 3]]
    values, own = turn_to_lps(volume.array[..., 0].transpose(2, 1, 0), affine)
    corners = grid.to_index(own.corners_mm())
    first = np.rint(corners[0]).astype(int)
    expected = first + np.array(list(np.ndindex(2, 2, 2))) * (np.array(own.shape) - 1)
    inside = (first >= 0).all() and (first + own.shape <= grid.shape).all()
    if np.abs(corners - expected).max() > GRID_TOLERANCE or not inside:
        raise BadInput(path, f"segment {number} on another grid ({own}) than its image ({grid})")
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(slice(f, f + n) for f, n in zip(first, own.shape, strict=True))] = values >= 0.5
    return mask
