"""What lesion encoders are given: a lesion's voxels with their mask, or its measurements alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
