"""Vectors of a volume's lesions: each encoder of lesions is given them as it takes them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import ndimage

from tumorbase.ingest.chosen_encoders import RADIOMICS, encoders_of
from tumorbase.ingest.item import Context, VectorRows
from tumorbase.ingest.mask_lesions import MaskLesion
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.ingest.volume import Volume
from tumorbase.models.encoders import Encoder
from tumorbase.models.lesion_crop import (
    BOX_PADDING_PX,
    LesionCrop,
    LesionInVolume,
    LesionMeasure,
    input_kind,
)

MARGIN_MM = 10.0
BODY_HU = -500.0
BODY_STEP_MM = 4.0  # the body's box is looked for on about this grid; its error is a step at most


def encode_lesions(
    volume: Volume, lesions: Sequence[MaskLesion], rows: pa.Table, modality: str, context: Context
) -> tuple[list[VectorRows], dict[str, float]]:
    """Staged vectors of all lesions, one `VectorRows` an encoder, and the seconds it took.

    Args:
        volume: in which the lesions lie.
        lesions: in the order of `rows`, their rows of `METADATA["lesion"]`.
        rows: where position and axes are read from.
        modality: DICOM modality of the volume.
        context: names the encoders.

    Returns:
        The vectors, and {"resample": seconds of cutting, "encode": seconds of encoding}.
    """
    began, seconds = perf_counter(), {"resample": 0.0}
    ids = {"lesion_id": rows["lesion_id"], "patient_id": rows["patient_id"]}
    inputs: dict[type, Sequence[Any]] = {}
    staged = []
    for encoder in _encoders(context, modality):
        kind = input_kind(encoder)
        if kind not in inputs:
            started = perf_counter()
            inputs[kind] = _inputs(kind, volume, lesions, rows, modality)
            seconds["resample"] += perf_counter() - started
        vectors = encoder.encode(inputs[kind])
        batch = vector_batch(encoder.spec, ids, vectors)
        staged.append(stage(context, encoder.spec, [batch]))
    seconds["encode"] = perf_counter() - began - seconds["resample"]
    return staged, seconds


def _inputs(
    kind: type, volume: Volume, lesions: Sequence[MaskLesion], rows: pa.Table, modality: str
) -> Sequence[Any]:
    """The lesions as encoders of a kind of input take them."""
    if kind is LesionMeasure:
        return _measures(rows)
    if kind is LesionInVolume:
        return [in_volume(volume, lesion) for lesion in lesions]
    body = body_box(volume, modality)
    return [cut(volume, lesion, body, modality) for lesion in lesions]


def _encoders(context: Context, modality: str) -> list[Encoder]:
    """The run's encoders of lesions that suit volumes of the modality."""
    others = {name for name in RADIOMICS.values() if name != RADIOMICS[modality]}
    others.add("radiomics-2d")  # of key slices
    of_lesions = [e for e in encoders_of(context, "lesion") if e.spec.name not in others]
    encoders = [*of_lesions, *encoders_of(context, "body_part")]
    if modality == "CT":
        return encoders
    return [e for e in encoders if input_kind(e) is not LesionInVolume]  # these networks read HU


def body_box(volume: Volume, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """First and last index of the body, two float64 (z, y, x).

    The body is the largest part above -500 HU for CT, and above Otsu's threshold (1979) otherwise;
    the whole volume where nothing is above it.
    """
    steps = [max(1, int(BODY_STEP_MM / mm)) for mm in volume.grid.spacing_mm]
    coarse = volume.voxels[:: steps[0], :: steps[1], :: steps[2]]
    parts, count = ndimage.label(coarse > _body_threshold(coarse, modality))
    if count == 0:
        return np.zeros(3), np.array(volume.grid.shape, dtype=np.float64) - 1
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    box = ndimage.find_objects(parts)[largest]
    first = np.array([side.start for side in box]) * steps
    last = np.array([side.stop - 1 for side in box]) * steps
    return first.astype(np.float64), last.astype(np.float64)


def cut(
    volume: Volume, lesion: MaskLesion, body: tuple[np.ndarray, np.ndarray], modality: str
) -> LesionCrop:
    """The lesion with `MARGIN_MM` on each side, as far as the volume reaches."""
    margins = [int(np.ceil(MARGIN_MM / mm)) for mm in volume.grid.spacing_mm]
    sides = list(zip(lesion.box, margins, volume.grid.shape, strict=True))
    outer = tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in sides)
    image = np.ascontiguousarray(volume.voxels[outer])
    mask = np.zeros(image.shape, dtype=bool)
    inner = zip(lesion.box, outer, strict=True)
    mask[tuple(slice(b.start - o.start, b.stop - o.start) for b, o in inner)] = lesion.mask
    first, last = body
    extent = np.maximum(last - first, 1.0)
    z, y, x = np.clip((lesion.centroid_index - first) / extent, 0.0, 1.0)
    location = (float(x), float(y), float(z))
    return LesionCrop(image, mask, volume.grid.spacing_mm, location, modality)


def in_volume(volume: Volume, lesion: MaskLesion) -> LesionInVolume:
    """The lesion's box on the slice that most of its pixels are on, the first of equal ones."""
    z, y, x = (side.start for side in lesion.box)
    key_slice = int(lesion.mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(lesion.mask[key_slice])
    box_px = (
        float(x + columns.min() - BOX_PADDING_PX),
        float(y + rows.min() - BOX_PADDING_PX),
        float(x + columns.max() + BOX_PADDING_PX),
        float(y + rows.max() + BOX_PADDING_PX),
    )
    return LesionInVolume(volume.voxels, z + key_slice, box_px, volume.grid.spacing_mm)


def _body_threshold(voxels: np.ndarray, modality: str) -> float:
    if modality == "CT":
        return BODY_HU
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(voxels))


def _measures(rows: pa.Table) -> list[LesionMeasure]:
    names = ["x_mm", "y_mm", "z_mm", "long_axis_mm", "short_axis_mm"]
    return [LesionMeasure(**row) for row in rows.select(names).to_pylist()]
