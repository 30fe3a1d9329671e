"""A slide as if it had been scanned at another mpp: any rectangle of it, on one grid of pixels."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from tumorbase.ingest.patches import SAME_MPP
from tumorbase.ingest.slide_source import SlideSource, best_level

_SUPPORT_PX = 2  # beyond a rectangle's border, that the interpolation takes from


class ScaledSlide:
    """Pixels of `scale` level-0 pixels a side each. A rectangle has the same pixels, whatever other
    rectangle it is read with. A slide of about the wanted mpp, within 5 %, is taken as it is.
    """

    def __init__(self, slide: SlideSource, mpp: float) -> None:
        self.slide = slide
        is_same = 1 / (1 + SAME_MPP) <= slide.mpp / mpp <= 1 + SAME_MPP
        self.scale = 1.0 if is_same else mpp / slide.mpp
        self.mpp = slide.mpp * self.scale
        self.height_px = max(1, round(slide.height_px / self.scale))
        self.width_px = max(1, round(slide.width_px / self.scale))

    def to_level0(self, place_px: np.ndarray) -> np.ndarray:
        """A row or column of the slide's own pixels; the middle of a pixel is a whole number."""
        return (place_px + 0.5) * self.scale - 0.5

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """RGB of a rectangle inside of the slide, uint8 (rows, columns, 3).

        Raises:
            BadInput: the file is damaged there.
        """
        size = (columns.stop - columns.start, rows.stop - rows.start)
        if self.scale == 1.0:
            return self.slide.read(columns.start, rows.start, 0, *size)
        level = best_level(self.slide, self.scale)
        downsample = self.slide.downsamples[level]
        step = self.scale / downsample  # pixels of the level
        x, right = _with_border(columns, step, self.slide.width_px / downsample)
        y, bottom = _with_border(rows, step, self.slide.height_px / downsample)
        corner = (round(x * downsample), round(y * downsample))
        pixels = self.slide.read(*corner, level, right - x, bottom - y)
        box = (
            columns.start * step - x,
            rows.start * step - y,
            min(columns.stop * step, right) - x,
            min(rows.stop * step, bottom) - y,
        )
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box)
        return np.asarray(image)


def _with_border(pixels: slice, step: float, level_px: float) -> tuple[int, int]:
    """First and past the last pixel of a level that interpolated pixels are made of."""
    beside = _SUPPORT_PX * max(1.0, step)
    first = max(0, math.floor(pixels.start * step - beside))
    return first, min(max(1, round(level_px)), math.ceil(pixels.stop * step + beside))
