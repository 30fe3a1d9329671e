"""Where HoVer-Net's distances fall off, as they do from one nucleus to the next.

Steps 2 and 3 of the reference's watershed: vqdang/hover_net@67e2ce5, models/hovernet/post_proc.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import comb

from tumorbase.models._separable_filter import correlate

# OpenCV's Sobel filter of 21 pixels: the coefficients of (1 + t)^20, and of (1 + t)^19 (t - 1).
_SMOOTHING = comb(20, np.arange(21))
_DERIVATIVE = np.convolve(comb(19, np.arange(20)), [-1.0, 1.0])
_MIN_EXTENT = np.finfo(np.float64).eps

Region = tuple[slice, slice]


@dataclass(frozen=True)
class Span:
    """The lowest and the highest of some values, which are taken to 0 and 1.

    The factor and the shift of that are rounded to float32, as in OpenCV's min-max normalisation.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Span:
        """That of an array of at least one value."""
        return cls(float(values.min()), float(values.max()))

    @classmethod
    def over(cls, spans: Iterable[Span]) -> Span:
        """That of the values of all of them."""
        lows, highs = zip(*((span.low, span.high) for span in spans), strict=True)
        return cls(min(lows), max(highs))

    @property
    def factor(self) -> float:
        """1 by the extent; 0 where there is none, so that all values are taken to 0."""
        extent = self.high - self.low
        return float(np.float32(1.0 / extent if extent > _MIN_EXTENT else 0.0))

    @property
    def shift(self) -> float:
        """What is taken off a value times `factor`."""
        return float(np.float32(self.low * self.factor))

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """The values as they are in [0, 1], float32."""
        unit = np.multiply(values, self.factor, dtype=np.float64)
        unit -= self.shift
        return unit.astype(np.float32)


@dataclass(frozen=True)
class Spans:
    """What distances and their slopes are measured by.

    The reference takes them from each tile. A whole slide has one of its own, so that none of its
    nuclei depends on the tile that it lies in.
    """

    x: Span
    y: Span
    slope_x: Span
    slope_y: Span


def slopes_of(x: np.ndarray, y: np.ndarray, span_x: Span, span_y: Span) -> list[np.ndarray]:
    """The slope of x from left to right, and of y from top to bottom, each float64 (H, W).

    Args:
        x: distances to the right of the nucleus' middle, float32 (H, W), C-ordered.
        y: distances downwards, as `x`.
        span_x: of x.
        span_y: of y.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        right = beside.submit(correlate, x, _DERIVATIVE, _SMOOTHING, span_x.factor, span_x.shift)
        down = correlate(y, _SMOOTHING, _DERIVATIVE, span_y.factor, span_y.shift)
        return [right.result(), down]


def spans_of(parts: Sequence[tuple[np.ndarray, np.ndarray, Region]]) -> Spans:
    """The spans over an image in parts.

    Args:
        parts: x and y as of `slopes_of`, and where the part lies in them; 10 pixels of the image
            around a part belong to its slopes.
    """
    x = Span.over(Span.of(x[region]) for x, _, region in parts)
    y = Span.over(Span.of(y[region]) for _, y, region in parts)
    slopes = [
        [Span.of(slope[region]) for slope in slopes_of(part_x, part_y, x, y)]
        for part_x, part_y, region in parts
    ]
    return Spans(x, y, *map(Span.over, zip(*slopes, strict=True)))
