"""Where HoVer-Net's distances fall off, as they do from one nucleus to the next.

Steps 2 and 3 of the reference's watershed: vqdang/hover_net@67e2ce5, models/hovernet/post_proc.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import comb

from tumorbase.models._separable_filter import correlate

# OpenCV's Sobel filter of 21 pixels: the coefficients of (1 + t)^20, and of (1 + t)^19 (t - 1).
_SMOOTHING = comb(20, np.arange(21))
_DERIVATIVE = np.convolve(comb(19, np.arange(20)), [-1.0, 1.0])
_KERNELS = {"x": (_DERIVATIVE, _SMOOTHING), "y": (_SMOOTHING, _DERIVATIVE)}
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
    """What the distances along one axis and their slopes are measured by.

    The reference takes them from each tile. A whole slide has one of its own, so that none of its
    nuclei depends on the tile that it lies in.
    """

    distances: Span
    slopes: Span


def falls(
    distances: np.ndarray, axis: str, where: np.ndarray, spans: Spans | None = None
) -> np.ndarray:
    """How steeply distances fall along an axis, float32 (n,).

    1 is the steepest fall in the spans, 0 the steepest rise. Within a nucleus distances rise; from
    one to the next they fall.

    Args:
        distances: from the nucleus' middle, float32 (H, W), C-ordered.
        axis: "x", to the right, or "y", downwards.
        where: the pixels to tell it of, bool (H, W).
        spans: what is measured by; the distances' own if not given.
    """
    slopes = _slopes(distances, axis, spans.distances if spans else Span.of(distances))
    span = spans.slopes if spans else Span.of(slopes)
    return 1.0 - span.to_unit(slopes[where])


def spans_of(parts: Sequence[tuple[np.ndarray, Region]], axis: str) -> Spans:
    """The spans over an image in parts.

    Args:
        parts: distances as of `falls`, and where the part lies in them; 10 pixels of the image
            around a part belong to its slopes.
        axis: as of `falls`.
    """
    distances = Span.over(Span.of(shown[region]) for shown, region in parts)
    slopes = (_slopes(shown, axis, distances)[region] for shown, region in parts)
    return Spans(distances, Span.over(map(Span.of, slopes)))


def _slopes(distances: np.ndarray, axis: str, span: Span) -> np.ndarray:
    """The slopes of distances that span `span`, float64 (H, W)."""
    along_rows, along_columns = _KERNELS[axis]
    return correlate(distances, along_rows, along_columns, span.factor, span.shift)
