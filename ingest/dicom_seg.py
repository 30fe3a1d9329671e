"""Masks of the segments of a DICOM SEG, on the grid of its series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from tumorbase.ingest.dicom_header import read_dataset, refuse_damage
from tumorbase.ingest.dicom_slices import Slice, read_pixels, read_slices
from tumorbase.ingest.mask_lesions import LabelMask
from tumorbase.ingest.mask_region import names_lesion, names_other, region_of
from tumorbase.ingest.volume import Grid
from tumorbase.store.errors import BadInput

# Categories of segments (DICOM CID 7150 and its predecessors) in SNOMED CT and SRT.
_MORPHOLOGICALLY_ALTERED = ("49755003", "M-01000")
_ANATOMY = ("91723000", "123037004", "91772007", "T-D000A")  # structures of the body, organs
# Pixels may lie this part of a voxel off the grid's, as positions of slices are rounded.
_TOLERANCE = 0.2


@dataclass(frozen=True)
class _Segment:
    number: int
    label: str
    category: str  # a code
    type: str  # in words, such as "Lymph node"

    @property
    def names(self) -> str:
        return f"{self.label} {self.type}"

    @property
    def is_lesion(self) -> bool:
        return self.category in _MORPHOLOGICALLY_ALTERED or names_lesion(self.names)

    @property
    def is_other(self) -> bool:
        return self.category in _ANATOMY or names_other(self.names)


def read_seg(path: str, grid: Grid) -> list[LabelMask]:
    """One mask for each segment that is a lesion, by its category, type or label; else for those
    that say of themselves nothing else. None where all are organs.

    Fractional segments count from one half. The segment's label becomes the type.

    Raises:
        BadInput: truncated, or frames that do not fit the series' grid.
    """
    dataset = read_dataset(path)
    if "PixelData" not in dataset or "SegmentSequence" not in dataset:
        raise BadInput(path, "truncated SEG: the file ends before or within its pixels")
    with refuse_damage(path):
        segments = [_segment(described) for described in dataset.SegmentSequence]
        numbers = _segment_of_frames(dataset)
        is_fraction = dataset.SegmentationType == "FRACTIONAL"
        least = dataset.MaximumFractionalValue / 2 if is_fraction else 1
    lesions = [one for one in segments if one.is_lesion]
    chosen = lesions or [one for one in segments if not one.is_other]
    masks = {one.number: np.zeros(grid.shape, dtype=bool) for one in chosen}
    frames = read_slices(path)
    for frame, number, pixels in zip(frames, numbers, read_pixels(frames), strict=True):
        for one in [one for one in masks if number in (one, 0)]:
            part = pixels >= least if number else pixels == one
            if part.any():
                masks[one][_voxels(path, frame, grid)] |= part
    return [
        LabelMask(path, region_of(one.names), masks[one.number], {1: one.label}) for one in chosen
    ]


def _segment(described: Dataset) -> _Segment:
    return _Segment(
        number=int(described.SegmentNumber),
        label=str(described.SegmentLabel),
        category=str(described.SegmentedPropertyCategoryCodeSequence[0].CodeValue),
        type=str(described.SegmentedPropertyTypeCodeSequence[0].CodeMeaning),
    )


def _segment_of_frames(dataset: Dataset) -> list[int]:
    """The number of the segment that each frame shows; 0 where its pixels are such numbers."""
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    if dataset.SegmentationType == "LABELMAP":
        return [0] * len(per_frame)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    stated = [
        (groups if "SegmentIdentificationSequence" in groups else shared) for groups in per_frame
    ]
    return [
        int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for groups in stated
    ]


def _voxels(path: str, frame: Slice, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (z, y, x) of the frame's pixels in the grid, each int (rows, columns)."""
    rows, columns = frame.shape_yx
    right_mm, down_mm = frame.axes * np.array(frame.spacing_yx_mm[::-1])[:, None]
    far_mm = (rows - 1) * down_mm + (columns - 1) * right_mm
    points_mm = frame.position_mm + np.array([0 * far_mm, down_mm, right_mm, far_mm])
    first, below, beside, last = grid.to_index(points_mm)
    start, down, right = (np.rint(v).astype(int) for v in (first, below - first, beside - first))
    end = start + (rows - 1) * down + (columns - 1) * right
    off = max(np.abs(first - start).max(), np.abs(last - end).max())
    is_inside = (np.minimum(start, end) >= 0).all() and (np.maximum(start, end) < grid.shape).all()
    if off > _TOLERANCE or np.abs([down, right]).sum() != 2 or not is_inside:
        raise BadInput(
            path,
            f"a frame at {frame.position_mm.tolist()} mm on another grid than its image ({grid})",
        )
    z, y, x = (
        start + np.arange(rows)[:, None, None] * down + np.arange(columns)[:, None] * right
    ).transpose(2, 0, 1)
    return z, y, x
