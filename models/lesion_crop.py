"""What lesion encoders are given: a lesion's voxels with their mask, or its measurements alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOX_PADDING_PX = 5.0  # by which the boxes of DeepLesion go around a lesion


@dataclass(frozen=True)
class LesionCrop:
    """A lesion cut out of its volume with a margin.

    `image` is float32 (z, y, x), in HU for CT and in scanner units otherwise; `mask` is bool of the
    same shape, the lesion alone; `spacing_mm` is (z, y, x). `location` is the centroid's relative
    position in the body's bounding box, (x, y, z) in [0, 1] from right, front and foot to left,
    back and head, as far as the volume reaches.
    """

    image: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple[float, float, float]
    location: tuple[float, float, float]
    modality: str = "CT"


@dataclass(frozen=True)
class LesionMeasure:
    """A lesion of which only position and RECIST axes are known; NaN where a number is not."""

    x_mm: float
    y_mm: float
    z_mm: float
    long_axis_mm: float
    short_axis_mm: float


@dataclass(frozen=True)
class LesionInVolume:
    """A lesion's box on one axial slice of its whole CT, for networks that look around it.

    `volume` is float32 (z, y, x) in HU, its axes ascending towards head, back and left; a volume of
    one slice stands for a key slice whose neighbours are not known. `key_slice` is a z index.
    `box_px` is (x1, y1, x2, y2) in pixels of that slice, `BOX_PADDING_PX` around the lesion;
    `spacing_mm` is (z, y, x).
    """

    volume: np.ndarray
    key_slice: int
    box_px: tuple[float, float, float, float]
    spacing_mm: tuple[float, float, float]


LesionInput = LesionCrop | LesionMeasure | LesionInVolume


def input_kind(encoder: object) -> type[LesionInput]:
    """Which of these an encoder of lesions takes: what it states as `takes`, else `LesionCrop`."""
    kind: type[LesionInput] = getattr(encoder, "takes", LesionCrop)
    return kind
