"""Lesions of a mask: each connected component is one, with its measurements as a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
from scipy import ndimage

from tumorbase.ingest.volume import Grid
from tumorbase.models.recist_axes import recist_axes_mm
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

Box = tuple[slice, slice, slice]
_TOUCHING = np.ones((3, 3, 3), dtype=bool)  # faces, edges and corners: 26 neighbours


@dataclass(frozen=True, eq=False)
class LabelMask:
    """Labels on the grid of a volume, (z, y, x) of any integer type or bool; 0 is background.

    `types` is what the source calls each label; where it does not and there are several, they are
    called "label 1", "label 2" and so on. `path` is the file it came from.
    """

    path: str
    region: str
    labels: np.ndarray
    types: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MaskLesion:
    """One component: `mask`, bool (z, y, x), is it alone and lies at `box` in the volume."""

    lesion_id: str
    region: str
    type: str | None
    box: Box
    mask: np.ndarray
    voxels: int

    @property
    def centroid_index(self) -> np.ndarray:
        """Mean index of its voxels in the whole volume, float64 (z, y, x)."""
        means = [
            self.mask.sum(axis=others) @ np.arange(side.start, side.stop) / self.voxels
            for side, others in zip(self.box, ((1, 2), (0, 2), (0, 1)), strict=True)
        ]
        return np.array(means)


@dataclass(frozen=True)
class SeriesIdentity:
    """Whose lesions these are; `time` is that of the study, UTC, None if not stated."""

    patient_id: str
    study_id: str
    series_id: str
    time: datetime | None = None


def find_lesions(
    masks: Sequence[LabelMask], grid: Grid, series_id: str, min_mm3: float
) -> list[MaskLesion]:
    """Components of each label under 26-connectivity, region by region, the largest first.

    Components below `min_mm3` are left out, and so is a lesion that was drawn again: half of it
    lies in larger ones of other masks, such as an earlier version of its contour. Ids are
    `series_id/region-n`, n counting from 1 by descending volume, then by position (z, y, x).

    Raises:
        BadInput: a mask has no labelled voxel, or another shape than the grid.
    """
    components = [
        [one for one in _components(mask, grid) if one.voxels * grid.voxel_mm3 >= min_mm3]
        for mask in masks
    ]
    found = _without_redrawn(components, grid)
    found.sort(key=lambda one: (one.region, -one.voxels, [side.start for side in one.box]))
    counts: Counter[str] = Counter()
    lesions = []
    for component in found:
        counts[component.region] += 1
        lesion_id = f"{series_id}/{component.region}-{counts[component.region]}"
        lesions.append(replace(component, lesion_id=lesion_id))
    return lesions


def lesion_table(lesions: Sequence[MaskLesion], grid: Grid, identity: SeriesIdentity) -> pa.Table:
    """Rows of the lesions as `METADATA["lesion"]`, one each, in their order.

    The bounding box goes round the outer faces of the voxels; volume is voxels times voxel volume.
    """
    rows = [_row(lesion, grid, identity) for lesion in lesions]
    return pa.Table.from_pylist(rows, schema=METADATA["lesion"])


def _without_redrawn(components: Sequence[Sequence[MaskLesion]], grid: Grid) -> list[MaskLesion]:
    """The components of all masks without those that larger ones of other masks cover by half."""
    every = [one for of_mask in components for one in of_mask]
    if len(components) < 2:
        return every
    taken = np.zeros(grid.shape, dtype=bool)
    kept = []
    for one in sorted(every, key=lambda one: (-one.voxels, one.region)):
        here = taken[one.box]  # a view; those of one mask do not overlap
        if 2 * np.count_nonzero(one.mask & here) < one.voxels:
            here |= one.mask
            kept.append(one)
    return kept


def _components(mask: LabelMask, grid: Grid) -> list[MaskLesion]:
    """The components of each label, without ids."""
    if mask.labels.shape != grid.shape:
        reason = f"mask of shape {mask.labels.shape} over an image of {grid.shape}"
        raise BadInput(mask.path, reason)
    labels = mask.labels.view(np.uint8) if mask.labels.dtype == bool else mask.labels
    boxes = {n: box for n, box in enumerate(ndimage.find_objects(labels), start=1) if box}
    if not boxes:
        raise BadInput(mask.path, "empty mask: no voxel is labelled")
    several = {label: f"label {label}" for label in boxes} if len(boxes) > 1 else {}
    types = mask.types or several
    components = []
    for label, outer in boxes.items():
        parts, _ = ndimage.label(labels[outer] == label, structure=_TOUCHING)
        sizes = np.bincount(parts.ravel())
        for part, inner in enumerate(ndimage.find_objects(parts), start=1):
            z, y, x = (
                slice(o.start + i.start, o.start + i.stop)
                for o, i in zip(outer, inner, strict=True)
            )
            alone = parts[inner] == part
            components.append(
                MaskLesion("", mask.region, types.get(label), (z, y, x), alone, int(sizes[part]))
            )
    return components


def _row(lesion: MaskLesion, grid: Grid, identity: SeriesIdentity) -> dict[str, object]:
    x_mm, y_mm, z_mm = grid.to_lps(lesion.centroid_index[None])[0]
    low_mm, high_mm = bounding_box_mm(lesion.box, grid)
    axes = recist_axes_mm(lesion.mask, grid.spacing_mm)
    return {
        "lesion_id": lesion.lesion_id,
        "patient_id": identity.patient_id,
        "study_id": identity.study_id,
        "series_id": identity.series_id,
        "region": lesion.region,
        "type": lesion.type,
        "x_mm": x_mm,
        "y_mm": y_mm,
        "z_mm": z_mm,
        **dict(zip(("x_min_mm", "y_min_mm", "z_min_mm"), low_mm, strict=True)),
        **dict(zip(("x_max_mm", "y_max_mm", "z_max_mm"), high_mm, strict=True)),
        "long_axis_mm": axes[0],
        "short_axis_mm": axes[1],
        "volume_mm3": lesion.voxels * grid.voxel_mm3,
        "body_part": None,
        "event_time": None,  # its study's
        "known_at": None,
    }


def bounding_box_mm(box: Box, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest (x, y, z) in LPS mm of the outer faces of the voxels in `box`."""
    ends = np.array([[side.start - 0.5, side.stop - 0.5] for side in box])
    choices = np.array(list(np.ndindex(2, 2, 2)))
    corners_mm = grid.to_lps(ends[np.arange(3), choices])
    return corners_mm.min(axis=0), corners_mm.max(axis=0)
