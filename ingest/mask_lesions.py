"""Lesions of a mask: each connected component is one, with its measurements as a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    `types` names what the source calls each label, where it does. `path` is the file it came from.
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
        corner = [side.start for side in self.box]
        return np.argwhere(self.mask).mean(axis=0) + corner


@dataclass(frozen=True)
class SeriesIdentity:
    """Whose lesions these are; `time` is when the series was taken, UTC, None if not stated."""

    patient_id: str
    study_id: str
    series_id: str
    time: datetime | None = None


def find_lesions(
    masks: Sequence[LabelMask], grid: Grid, series_id: str, min_mm3: float
) -> list[MaskLesion]:
    """Components of each label under 26-connectivity, region by region, the largest first.

    Components below `min_mm3` are left out. Ids are `series_id/region-n`, n counting from 1 by
    descending volume, then by position (z, y, x).

    Raises:
        BadInput: a mask has no labelled voxel, or another shape than the grid.
    """
    found: list[tuple[LabelMask, int, Box, np.ndarray, int]] = []
    for mask in masks:
        if mask.labels.shape != grid.shape:
            raise BadInput(
                mask.path, f"mask of shape {mask.labels.shape} over an image of {grid.shape}"
            )
        components = _components(mask.labels)
        if not components:
            raise BadInput(mask.path, "empty mask: no voxel is labelled")
        found += [
            (mask, label, box, component, voxels)
            for label, box, component, voxels in components
            if voxels * grid.voxel_mm3 >= min_mm3
        ]
    found.sort(key=lambda lesion: (-lesion[4], [side.start for side in lesion[2]]))
    counts: dict[str, int] = {}
    lesions = []
    for mask, label, box, component, voxels in found:
        counts[mask.region] = number = counts.get(mask.region, 0) + 1
        lesion_id = f"{series_id}/{mask.region}-{number}"
        type_ = mask.types.get(label)
        lesions.append(MaskLesion(lesion_id, mask.region, type_, box, component, voxels))
    return sorted(lesions, key=lambda lesion: lesion.region)


def lesion_table(lesions: Sequence[MaskLesion], grid: Grid, identity: SeriesIdentity) -> pa.Table:
    """Rows of the lesions as `METADATA["lesion"]`, one each, in their order.

    The bounding box goes round the outer faces of the voxels; volume is voxels times voxel volume.
    """
    rows = [_row(lesion, grid, identity) for lesion in lesions]
    return pa.Table.from_pylist(rows, schema=METADATA["lesion"])


def _components(labels: np.ndarray) -> list[tuple[int, Box, np.ndarray, int]]:
    """(label, box, component bool within the box, voxels) of each component of each label."""
    whole = labels.astype(np.uint8) if labels.dtype == bool else labels
    components = []
    for label, outer in enumerate(ndimage.find_objects(whole), start=1):
        if outer is None:
            continue
        parts, _ = ndimage.label(whole[outer] == label, structure=_TOUCHING)
        sizes = np.bincount(parts.ravel())
        for part, inner in enumerate(ndimage.find_objects(parts), start=1):
            z, y, x = (
                slice(o.start + i.start, o.start + i.stop)
                for o, i in zip(outer, inner, strict=True)
            )
            components.append((label, (z, y, x), parts[inner] == part, int(sizes[part])))
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
        "event_time": identity.time,
        "known_at": identity.time,
    }


def bounding_box_mm(box: Box, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest (x, y, z) in LPS mm of the outer faces of the voxels in `box`."""
    ends = np.array([[side.start - 0.5, side.stop - 0.5] for side in box])
    choices = np.array(list(np.ndindex(2, 2, 2)))
    corners_mm = grid.to_lps(ends[np.arange(3), choices])
    return corners_mm.min(axis=0), corners_mm.max(axis=0)
