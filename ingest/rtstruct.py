"""Masks of the regions of interest of an RTSTRUCT, on the grid of its series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from skimage.draw import polygon

from tumorbase.ingest.dicom_header import read_dataset, refuse_damage
from tumorbase.ingest.mask_lesions import LabelMask
from tumorbase.ingest.mask_region import names_lesion, names_other, region_of
from tumorbase.ingest.volume import Grid
from tumorbase.store.errors import BadInput

# A contour's points may leave their slice by this part of the spacing.
_PLANE_TOLERANCE = 0.2


@dataclass(frozen=True, eq=False)
class _Roi:
    name: str
    interpreted_type: str  # RT ROI Interpreted Type: GTV, ORGAN, EXTERNAL, ...; empty if not stated
    contours: list[Dataset]  # the closed ones


def read_rtstruct(path: str, grid: Grid) -> list[LabelMask]:
    """One mask for each ROI that is a lesion: those of type GTV or named so, else those that say
    neither by type nor by name what they are. None where all are organs and margins.

    Contours are filled slice by slice: a voxel belongs to the ROI if its centre lies within an odd
    number of contours, so that an inner contour is a hole. The ROI's name becomes the type.

    Raises:
        BadInput: truncated; no closed contour; a contour between slices or outside the series;
            contours on every other slice only, of which no solid can be made without a guess.
    """
    dataset = read_dataset(path)
    with refuse_damage(path):
        rois = _rois(path, dataset)
    if not rois:
        raise BadInput(path, "RTSTRUCT without a closed planar contour")
    return [
        LabelMask(path, region_of(roi.name), _fill(path, roi, grid), {1: roi.name})
        for roi in _lesion_rois(rois)
    ]


def referenced_series(dataset: Dataset) -> tuple[set[str], set[str]]:
    """SeriesInstanceUIDs and FrameOfReferenceUIDs that the RTSTRUCT says it was drawn on."""
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or []
    series = {
        str(one.SeriesInstanceUID)
        for frame in frames
        for study in frame.get("RTReferencedStudySequence") or []
        for one in study.get("RTReferencedSeriesSequence") or []
    }
    return series, {str(frame.get("FrameOfReferenceUID", "")) for frame in frames}


def _rois(path: str, dataset: Dataset) -> list[_Roi]:
    if "StructureSetROISequence" not in dataset or "ROIContourSequence" not in dataset:
        raise BadInput(path, "truncated RTSTRUCT: it ends before its contours")
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    types = {
        int(seen.ReferencedROINumber): str(seen.get("RTROIInterpretedType") or "")
        for seen in dataset.get("RTROIObservationsSequence") or []
    }
    rois = []
    for item in dataset.ROIContourSequence:
        number = int(item.ReferencedROINumber)
        contours = [
            contour
            for contour in item.get("ContourSequence") or []
            if str(contour.ContourGeometricType).startswith("CLOSED")
        ]
        if contours:
            rois.append(_Roi(names.get(number, str(number)), types.get(number, ""), contours))
    return rois


def _lesion_rois(rois: list[_Roi]) -> list[_Roi]:
    """Tumours and nodes; where none says so, the ROIs that do not say to be anything else."""
    named = [
        roi
        for roi in rois
        if roi.interpreted_type == "GTV"
        or (roi.interpreted_type not in ("CTV", "PTV", "EXTERNAL") and names_lesion(roi.name))
    ]
    return named or [roi for roi in rois if not roi.interpreted_type and not names_other(roi.name)]


def _fill(path: str, roi: _Roi, grid: Grid) -> np.ndarray:
    """Voxels whose centre lies inside the ROI, bool (z, y, x)."""
    mask = np.zeros(grid.shape, dtype=bool)
    contours = [grid.to_index(_points_mm(path, contour)) for contour in roi.contours]
    normal_axis = _normal_axis(path, roi, contours)
    depth = grid.shape[normal_axis]
    numbers = [_slice_number(path, roi, depth, index[:, normal_axis]) for index in contours]
    apart = np.diff(np.unique(numbers))
    if len(apart) > 1 and apart.min() > 1:
        reason = f"ROI {roi.name!r} is drawn on every {apart.min()}. slice only, expected each"
        raise BadInput(path, reason)
    slices = np.moveaxis(mask, normal_axis, 0)  # a view: filling it fills the mask
    for index, number in zip(contours, numbers, strict=True):
        in_plane = np.delete(index, normal_axis, axis=1)
        rows, columns = polygon(in_plane[:, 0], in_plane[:, 1], slices.shape[1:])
        slices[number, rows, columns] ^= True
    return mask


def _slice_number(path: str, roi: _Roi, depth: int, along: np.ndarray) -> int:
    """The slice in which a contour lies whose points have these indices (points,) across slices."""
    number = round(float(along.mean()))
    if np.abs(along - number).max() > _PLANE_TOLERANCE or not 0 <= number < depth:
        raise BadInput(
            path,
            f"a contour of ROI {roi.name!r} lies at slice {along.min():.2f} to {along.max():.2f}, "
            f"expected it in one of the slices 0 to {depth - 1}",
        )
    return number


def _points_mm(path: str, contour: Dataset) -> np.ndarray:
    """The contour's points, float64 (points, 3) in LPS mm."""
    # pydicom makes an object of each decimal; numpy reads them many times faster.
    stored = contour.get_item("ContourData")
    if isinstance(stored, RawDataElement) and isinstance(stored.value, bytes):
        decimals = stored.value.decode("ascii", errors="replace").strip(" \0").split("\\")
    else:
        decimals = [str(value) for value in contour.get("ContourData") or ()]
    try:
        points_mm = np.array(decimals, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise BadInput(path, f"ContourData must be points of three decimals: {error}") from error
    if len(points_mm) == 0 or not np.isfinite(points_mm).all():
        raise BadInput(path, "ContourData must be finite points, got none or NaN or infinity")
    return points_mm


def _normal_axis(path: str, roi: _Roi, contours: Sequence[np.ndarray]) -> int:
    """The array axis across which all contours (points, 3) are flat: 0 for axial slices."""
    flat = np.max([np.ptp(index, axis=0) for index in contours], axis=0)
    axis = int(flat.argmin())
    if flat[axis] > 2 * _PLANE_TOLERANCE:
        raise BadInput(path, f"the contours of ROI {roi.name!r} do not lie in slices of the series")
    return axis
