"""The slices of one DICOM file: a single one, or the frames of an enhanced multi-frame image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from tumorbase.ingest.dicom_header import read_dataset, refuse_damage, sop_instance
from tumorbase.store.errors import BadInput

_OF_FILE = ("SOPInstanceUID", "FrameOfReferenceUID", "NumberOfFrames", "Rows", "Columns")
_PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_OF_SLICE = (*_PLACED, "SliceThickness", "RescaleSlope", "RescaleIntercept")
# Where an enhanced image states these of its frames (DICOM PS3.3, C.7.6.16).
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)


@dataclass(frozen=True, eq=False)
class Slice:
    """Where one slice lies: `axes` are the unit directions of x (along a row) and y, (2, 3)."""

    path: str
    sop_instance: str
    frame_of_reference: str
    position_mm: np.ndarray
    axes: np.ndarray
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]
    thickness_mm: float | None
    slope: float
    intercept: float

    @property
    def along_mm(self) -> float:
        """Position along the normal of the slice."""
        return float(self.position_mm @ np.cross(*self.axes))


def read_slices(path: str) -> tuple[Slice, ...]:
    """The slices of a file in its order, without their pixels.

    Raises:
        BadInput: truncated or damaged, or a slice has no place in space.
    """
    tags = (*_OF_FILE, *_OF_SLICE, _SHARED, _PER_FRAME)
    dataset = read_dataset(path, tags=tags, pixels=False)
    with refuse_damage(path):
        return tuple(_slice(path, dataset, frame) for frame in _frames(path, dataset))


def read_pixels(slices: Sequence[Slice]) -> Iterator[np.ndarray]:
    """Rescaled pixels, float32 (y, x), of each slice of a file: the slope may differ (PET).

    Args:
        slices: all of one file, in its order.

    Raises:
        BadInput: the file is truncated or cannot be decoded.
    """
    path, shape = slices[0].path, slices[0].shape_yx
    dataset = read_dataset(path)
    if "PixelData" not in dataset or "TransferSyntaxUID" not in dataset.file_meta:
        raise BadInput(path, "truncated DICOM: the file ends before or within its pixels")
    with refuse_damage(path):
        pixels = dataset.pixel_array
    frames = pixels[None] if pixels.ndim == 2 else pixels
    if frames.shape != (len(slices), *shape):
        got = f"{len(slices)} x {shape}, got {pixels.shape}"
        raise BadInput(path, f"expected grey pixels of shape {got}")
    for one, frame in zip(slices, frames, strict=True):
        scaled = frame * np.float32(one.slope)
        scaled += np.float32(one.intercept)
        yield scaled


def _frames(path: str, dataset: Dataset) -> list[Dataset]:
    """What the file states of each of its slices, as an image of one slice states it."""
    count = int(dataset.get("NumberOfFrames") or 1)
    per_frame = dataset.get(_PER_FRAME)
    if not per_frame:
        if count != 1:
            reason = f"expected one slice a file, or functional groups of each, got {count} frames"
            raise BadInput(path, reason)
        return [dataset]
    if len(per_frame) != count:
        reason = f"expected functional groups of {count} frames, got those of {len(per_frame)}"
        raise BadInput(path, reason)
    shared = dataset.get(_SHARED) or [Dataset()]
    return [_flat(shared[0], groups) for groups in per_frame]


def _flat(shared: Dataset, own: Dataset) -> Dataset:
    frame = Dataset()
    for groups in (shared, own):
        for name in _GROUPS:
            for group in groups.get(name) or ():
                frame.update(group)
    return frame


def _slice(path: str, dataset: Dataset, frame: Dataset) -> Slice:
    """The slice that `frame` describes, in a file that says the rest in `dataset`."""
    missing = [tag for tag in _PLACED if not frame.get(tag)]
    missing += [tag for tag in ("Rows", "Columns") if not dataset.get(tag)]
    if missing:
        raise BadInput(path, f"truncated DICOM or no slice in space: {', '.join(missing)} missing")
    spacing = [float(mm) for mm in frame.PixelSpacing]
    axes = np.array(frame.ImageOrientationPatient, dtype=np.float64)
    position = np.array(frame.ImagePositionPatient, dtype=np.float64)
    if len(spacing) != 2 or not all(0 < mm < np.inf for mm in spacing):
        raise BadInput(path, f"PixelSpacing must be two positive numbers of mm, got {spacing}")
    if axes.shape != (6,) or not abs(np.linalg.norm(np.cross(axes[:3], axes[3:])) - 1) <= 0.01:
        raise BadInput(path, f"ImageOrientationPatient must be two unit vectors, got {axes}")
    if position.shape != (3,) or not np.isfinite(position).all():
        raise BadInput(path, f"ImagePositionPatient must be a finite point, got {position}")
    thickness = frame.get("SliceThickness")
    return Slice(
        path=path,
        sop_instance=sop_instance(dataset),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        position_mm=position,
        axes=axes.reshape(2, 3),
        spacing_yx_mm=(spacing[0], spacing[1]),
        shape_yx=(int(dataset.Rows), int(dataset.Columns)),
        thickness_mm=None if thickness is None else float(thickness),
        slope=float(frame.get("RescaleSlope") or 1),
        intercept=float(frame.get("RescaleIntercept") or 0),
    )
