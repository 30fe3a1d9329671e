"""The volume of one DICOM series of single-slice images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from tumorbase.ingest.dicom_header import read_dataset, refuse_damage, sop_instance
from tumorbase.ingest.item import Rejected
from tumorbase.ingest.volume import Volume, turn_to_lps, unmeasurable
from tumorbase.store.errors import BadInput

# Slices may lie this part of the spacing off an even stack, as scanners round their positions.
SPACING_TOLERANCE = 0.1
_SAME_POSITION_MM = 0.01
_SAME_DIRECTION = 1e-3  # greatest difference of a direction cosine within a series
_GEOMETRY = (
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
)


@dataclass(frozen=True, eq=False)
class _Slice:
    """Where one slice lies: `axes` are the unit directions of x (along a row) and y, (2, 3)."""

    path: str
    sop_instance: str
    frame_of_reference: str
    position_mm: np.ndarray
    axes: np.ndarray
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]
    thickness_mm: float | None

    @property
    def along_mm(self) -> float:
        """Position along the normal of the slice."""
        return float(self.position_mm @ np.cross(*self.axes))


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The volume, its files in the order of their slices, and the repeated files left out."""

    volume: Volume
    paths: tuple[str, ...]
    duplicates: tuple[Rejected, ...]


class _NotOneStack(Exception):
    """The slices do not make one volume; says why."""


def read_series(folder: str, series_id: str, paths: Sequence[str]) -> DicomSeries:
    """Slices ordered along their normal, rescaled to HU (CT) or scanner units.

    The spacing between slices is that of their positions; SliceThickness serves only for a series
    of one slice. A file that repeats another's SOPInstanceUID and pixels is left out and reported.

    Args:
        folder: where the series lies, and
        series_id: its name, both for messages.
        paths: its files in any order.

    Raises:
        BadInput: a file is truncated or cannot be decoded; a slice is missing; the files differ in
            orientation, matrix or frame of reference; two slices lie at one position.
    """
    slices, duplicates = _without_duplicates([_read_geometry(path) for path in paths])
    slices.sort(key=lambda one: one.along_mm)
    try:
        _check_one_series(slices)
        step_mm = _slice_step(slices)
    except _NotOneStack as error:
        raise BadInput(folder, f"series {series_id}: {error}") from error
    first = slices[0]
    # Filled slice by slice as (z, y, x), so that only one copy of the volume is in memory.
    voxels = np.empty((len(slices), *first.shape_yx), dtype=np.float32)
    for index, one in enumerate(slices):
        voxels[index] = _read_pixels(one)
    if reason := unmeasurable(voxels):
        raise BadInput(folder, f"series {series_id}: {reason}")
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing_yx_mm[1]
    affine[:3, 1] = first.axes[1] * first.spacing_yx_mm[0]
    affine[:3, 2] = step_mm
    affine[:3, 3] = first.position_mm
    turned, grid = turn_to_lps(voxels.T, affine)
    return DicomSeries(Volume(turned, grid), tuple(one.path for one in slices), tuple(duplicates))


def _read_geometry(path: str) -> _Slice:
    dataset = read_dataset(path, tags=_GEOMETRY, pixels=False)
    with refuse_damage(path):
        return _geometry(path, dataset)


def _geometry(path: str, dataset: Dataset) -> _Slice:
    missing = [tag for tag in _GEOMETRY[4:] if not dataset.get(tag)]
    if dataset.get("NumberOfFrames", 1) not in (None, 1):
        raise BadInput(path, f"expected one slice a file, got {dataset.NumberOfFrames} frames")
    if missing:
        raise BadInput(path, f"truncated DICOM or no slice in space: {', '.join(missing)} missing")
    spacing = [float(mm) for mm in dataset.PixelSpacing or ()]
    axes = np.array(dataset.ImageOrientationPatient or (), dtype=np.float64)
    position = np.array(dataset.ImagePositionPatient or (), dtype=np.float64)
    if len(spacing) != 2 or not all(0 < mm < np.inf for mm in spacing):
        raise BadInput(path, f"PixelSpacing must be two positive numbers of mm, got {spacing}")
    if axes.shape != (6,) or not abs(np.linalg.norm(np.cross(axes[:3], axes[3:])) - 1) <= 0.01:
        raise BadInput(path, f"ImageOrientationPatient must be two unit vectors, got {axes}")
    if position.shape != (3,) or not np.isfinite(position).all():
        raise BadInput(path, f"ImagePositionPatient must be a finite point, got {position}")
    thickness = dataset.get("SliceThickness")
    return _Slice(
        path=path,
        sop_instance=sop_instance(dataset),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        position_mm=position,
        axes=axes.reshape(2, 3),
        spacing_yx_mm=(spacing[0], spacing[1]),
        shape_yx=(int(dataset.Rows), int(dataset.Columns)),
        thickness_mm=None if thickness is None else float(thickness),
    )


def _without_duplicates(slices: Sequence[_Slice]) -> tuple[list[_Slice], list[Rejected]]:
    kept: dict[str, _Slice] = {}
    duplicates = []
    for one in sorted(slices, key=lambda one: one.path):
        first = kept.setdefault(one.sop_instance or one.path, one)
        if first is one:
            continue
        if not _same_slice(first, one):
            raise BadInput(
                one.path, f"two different slices with one SOPInstanceUID, the other is {first.path}"
            )
        duplicates.append(Rejected(one.path, f"duplicate of {first.path}, which is used"))
    return list(kept.values()), duplicates


def _same_slice(first: _Slice, other: _Slice) -> bool:
    return (
        first.shape_yx == other.shape_yx
        and np.array_equal(first.position_mm, other.position_mm)
        and np.array_equal(_read_pixels(first), _read_pixels(other))
    )


def _check_one_series(slices: Sequence[_Slice]) -> None:
    """Refuse slices that cannot be of one stack: they would make a volume that never was."""
    first = slices[0]
    for one in slices[1:]:
        if np.abs(one.axes - first.axes).max() > _SAME_DIRECTION:
            raise _NotOneStack(f"mixed orientation: {one.path} lies otherwise than {first.path}")
        if one.shape_yx != first.shape_yx:
            raise _NotOneStack(f"two series of one UID: matrix {first.shape_yx} and {one.shape_yx}")
        if not np.allclose(one.spacing_yx_mm, first.spacing_yx_mm, rtol=1e-3):
            raise _NotOneStack(
                f"two series of one UID: spacing {first.spacing_yx_mm} and {one.spacing_yx_mm} mm",
            )
        if one.frame_of_reference != first.frame_of_reference:
            raise _NotOneStack("two series of one UID: more than one FrameOfReferenceUID")


def _slice_step(slices: Sequence[_Slice]) -> np.ndarray:
    """The vector in LPS mm from one slice to the next, float64 (3,).

    Raises:
        _NotOneStack: slices at one position, or uneven spacing; says where a slice is missing.
    """
    first, last = slices[0], slices[-1]
    if len(slices) == 1:
        if not first.thickness_mm or first.thickness_mm < 0:
            raise _NotOneStack("a series of one slice needs a positive SliceThickness")
        return np.cross(*first.axes) * first.thickness_mm
    along_mm = np.array([one.along_mm for one in slices])
    steps_mm = np.diff(along_mm)
    step_mm = float(np.median(steps_mm))
    narrow = steps_mm < _SAME_POSITION_MM
    if narrow.any():
        index = int(narrow.argmax())
        raise _NotOneStack(
            f"two series of one UID, or a repeated acquisition: {slices[index].path} and "
            f"{slices[index + 1].path} both lie at {along_mm[index]:.2f} mm along the normal",
        )
    uneven = np.abs(steps_mm - step_mm) > SPACING_TOLERANCE * step_mm
    if uneven.any():
        index = int(uneven.argmax())
        between = f"between {along_mm[index]:.2f} and {along_mm[index + 1]:.2f} mm along the normal"
        missing = round(steps_mm[index] / step_mm) - 1
        what = f"{missing} slice(s) missing" if missing > 0 else "uneven spacing"
        raise _NotOneStack(
            f"{what} {between}: {steps_mm[index]:.2f} mm apart, expected {step_mm:.2f}"
        )
    return (last.position_mm - first.position_mm) / (len(slices) - 1)


def _read_pixels(one: _Slice) -> np.ndarray:
    """Rescaled pixels (y, x); the slope may differ from slice to slice (PET)."""
    dataset = read_dataset(one.path)
    if "PixelData" not in dataset or "TransferSyntaxUID" not in dataset.file_meta:
        raise BadInput(one.path, "truncated DICOM: the file ends before or within its pixels")
    with refuse_damage(one.path):
        pixels = dataset.pixel_array
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        slope, intercept = float(slope or 1), float(intercept or 0)
    if pixels.shape != one.shape_yx:
        raise BadInput(one.path, f"expected pixels of shape {one.shape_yx}, got {pixels.shape}")
    scaled = pixels * np.float32(slope)
    scaled += np.float32(intercept)
    return scaled
