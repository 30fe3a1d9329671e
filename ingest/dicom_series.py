"""The volume of one DICOM series: its slices, one or more a file, make one even stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tumorbase.ingest.dicom_slices import Slice, read_pixels, read_slices
from tumorbase.ingest.item import Rejected
from tumorbase.ingest.volume import Volume, turn_to_lps, unmeasurable
from tumorbase.store.errors import BadInput

# Slices may lie this part of the spacing off an even stack, as scanners round their positions.
SPACING_TOLERANCE = 0.1
_ROUNDING_MM = 0.11  # or so far: some state positions to a tenth of a millimetre
_SAME_POSITION_MM = 0.01
_SAME_DIRECTION = 1e-3  # greatest difference of a direction cosine within a series


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
            orientation, matrix or frame of reference; two slices lie at one position, as in series
            over time.
    """
    files, duplicates = _without_duplicates([read_slices(path) for path in sorted(paths)])
    slices = sorted((one for file in files for one in file), key=lambda one: one.along_mm)
    try:
        _check_one_series(slices)
        step_mm = _slice_step(slices)
    except _NotOneStack as error:
        raise BadInput(folder, f"series {series_id}: {error}") from error
    first = slices[0]
    # Filled slice by slice as (z, y, x), so that only one copy of the volume is in memory.
    voxels = np.empty((len(slices), *first.shape_yx), dtype=np.float32)
    index_of = {one: index for index, one in enumerate(slices)}
    for file in files:
        for one, pixels in zip(file, read_pixels(file), strict=True):
            voxels[index_of[one]] = pixels
    if reason := unmeasurable(voxels):
        raise BadInput(folder, f"series {series_id}: {reason}")
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing_yx_mm[1]
    affine[:3, 1] = first.axes[1] * first.spacing_yx_mm[0]
    affine[:3, 2] = step_mm
    affine[:3, 3] = first.position_mm
    turned, grid = turn_to_lps(voxels.T, affine)
    ordered = tuple(dict.fromkeys(one.path for one in slices))
    return DicomSeries(Volume(turned, grid), ordered, tuple(duplicates))


def _without_duplicates(
    files: Sequence[tuple[Slice, ...]],
) -> tuple[list[tuple[Slice, ...]], list[Rejected]]:
    kept: dict[str, tuple[Slice, ...]] = {}
    duplicates = []
    for file in files:
        path = file[0].path
        first = kept.setdefault(file[0].sop_instance or path, file)
        if first is file:
            continue
        if not _same_slices(first, file):
            raise BadInput(
                path,
                f"two different slices with one SOPInstanceUID, the other is {first[0].path}",
            )
        duplicates.append(Rejected(path, f"duplicate of {first[0].path}, which is used"))
    return list(kept.values()), duplicates


def _same_slices(first: Sequence[Slice], other: Sequence[Slice]) -> bool:
    if len(first) != len(other):
        return False
    pairs = zip(first, other, strict=True)
    return all(
        one.shape_yx == same.shape_yx and np.array_equal(one.position_mm, same.position_mm)
        for one, same in pairs
    ) and all(map(np.array_equal, read_pixels(first), read_pixels(other)))


def _check_one_series(slices: Sequence[Slice]) -> None:
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


def _slice_step(slices: Sequence[Slice]) -> np.ndarray:
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
    tolerance_mm = max(SPACING_TOLERANCE * step_mm, min(_ROUNDING_MM, step_mm / 4))
    narrow = steps_mm < _SAME_POSITION_MM
    if narrow.any():
        index = int(narrow.argmax())
        raise _NotOneStack(
            f"two series of one UID, or a repeated acquisition: {slices[index].path} and "
            f"{slices[index + 1].path} both lie at {along_mm[index]:.2f} mm along the normal",
        )
    uneven = np.abs(steps_mm - step_mm) > tolerance_mm
    if uneven.any():
        index = int(uneven.argmax())
        between = f"between {along_mm[index]:.2f} and {along_mm[index + 1]:.2f} mm along the normal"
        missing = round(steps_mm[index] / step_mm) - 1
        what = f"{missing} slice(s) missing" if missing > 0 else "uneven spacing"
        raise _NotOneStack(
            f"{what} {between}: {steps_mm[index]:.2f} mm apart, expected {step_mm:.2f}"
        )
    step = (last.position_mm - first.position_mm) / (len(slices) - 1)
    stack_mm = first.position_mm + np.arange(len(slices))[:, None] * step
    off_mm = np.linalg.norm([one.position_mm for one in slices] - stack_mm, axis=1)
    if off_mm.max() > tolerance_mm:  # what lies aside, or many small differences that add up
        index = int(off_mm.argmax())
        raise _NotOneStack(
            f"uneven stack: {slices[index].path} lies {off_mm[index]:.2f} mm off its place among "
            f"{len(slices)} slices {step_mm:.2f} mm apart"
        )
    return step
