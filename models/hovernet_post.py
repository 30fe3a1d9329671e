"""From HoVer-Net's maps to nuclei: which pixels are one nucleus, and of what type it is.

Graham et al., Medical Image Analysis 58 (2019) 101563, section 3.2. Label maps equal those of
vqdang/hover_net@67e2ce5, models/hovernet/post_proc.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tumorbase.models._components import fill_holes, label_components
from tumorbase.models._flood import flood
from tumorbase.models._separable_filter import correlate
from tumorbase.models.hovernet_slopes import Spans, falls
from tumorbase.models.nucleus_shape import FEATURES, NucleusMeasures, measure

MIN_PROBABILITY = 0.5
MIN_FALL = 0.4  # of a border between nuclei
MIN_AREA_PX = 10  # of a piece of foreground, and of a marker
_BLUR = np.array([0.25, 0.5, 0.25])
_AREA = FEATURES.index("area")


@dataclass(frozen=True)
class Instances:
    """The nuclei of an image.

    `labels` is int32 (H, W): 0 background, each nucleus a number; numbers can be missing. All else
    has a row for each nucleus, in ascending order of its number: `shapes` with `label`, `bbox`,
    `centroid` as (row, column) and the shape features; `type`, int64 (n,), and `type_prob`, float64
    (n,), the share of the nucleus' pixels that have it. Both are None where no types are known.
    """

    labels: np.ndarray
    shapes: NucleusMeasures
    type: np.ndarray | None = None
    type_prob: np.ndarray | None = None


def instances(
    np_map: np.ndarray,
    hv_map: np.ndarray,
    tp_map: np.ndarray | None = None,
    nr_types: int | None = None,
    spans: tuple[Spans, Spans] | None = None,
) -> Instances:
    """The nuclei that the maps of one image show.

    A nucleus has the type that most of its pixels have, of equals the lowest; background, 0, only
    if there is no other.

    Args:
        np_map: probability that a pixel is nucleus, (H, W).
        hv_map: distances from the middle of the nucleus, x then y, (H, W, 2).
        tp_map: type of each pixel, whole numbers (H, W), 0 background.
        nr_types: how many types there are with background; needed with `tp_map`.
        spans: what slopes along x and y are measured by, where the image is a part of another;
            else its own.

    Raises:
        ValueError: the maps are of other shapes, or hold NaN, infinity, or types that are not in
            [0, nr_types).
    """
    if np_map.ndim != 2 or np_map.size == 0:
        raise ValueError(f"np_map must be (H, W), with pixels, got {np_map.shape}")
    if hv_map.shape != (*np_map.shape, 2):
        raise ValueError(f"hv_map must be {(*np_map.shape, 2)}, got {hv_map.shape}")
    types = None if tp_map is None else _checked_types(tp_map, nr_types, np_map.shape)
    probability, x, y = map(_plane, (np_map, hv_map[..., 0], hv_map[..., 1]))
    labels = _part(probability, x, y, spans)
    shapes = measure(labels)
    return Instances(labels, shapes, *(() if types is None else _majority(labels, shapes, types)))


def _checked_types(types: np.ndarray, nr_types: int | None, shape: tuple[int, ...]) -> np.ndarray:
    if nr_types is None:
        raise ValueError("nr_types must be given with tp_map")
    if types.shape != shape:
        raise ValueError(f"tp_map must be {shape}, got {types.shape}")
    whole = types.astype(np.int32)
    if (whole != types).any() or whole.min() < 0 or whole.max() >= nr_types:
        came = f"{types.min()} to {types.max()}"
        raise ValueError(f"tp_map must be whole numbers in [0, {nr_types}), got {came}")
    return whole


def _plane(values: np.ndarray) -> np.ndarray:
    """Finite values, float32 (H, W), C-ordered."""
    plane = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite([plane.min(), plane.max()]).all():
        raise ValueError("np_map and hv_map must be finite, got NaN or infinity")
    return plane


def _part(
    probability: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    spans: tuple[Spans, Spans] | None,
) -> np.ndarray:
    """The label map: foreground, parted by a watershed among what borders leave of it."""
    foreground = label_components(_bytes(probability >= MIN_PROBABILITY), MIN_AREA_PX)
    is_nucleus = foreground > 0
    span_x, span_y = spans or (None, None)
    with ThreadPoolExecutor(max_workers=1) as beside:
        fall_y = beside.submit(falls, y, "y", is_nucleus, span_y)
        fall_x = falls(x, "x", is_nucleus, span_x)
        fall = np.clip(np.maximum(fall_x, fall_y.result()), 0.0, 1.0)
    markers = label_components(_bytes(_cores(is_nucleus, fall)), MIN_AREA_PX)
    return flood(_inwardness(is_nucleus, fall), markers, foreground)


def _cores(is_nucleus: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """The foreground without borders, holes filled and what is thin removed, bool (H, W).

    Args:
        is_nucleus: the foreground, bool (H, W).
        fall: how steeply distances fall at its pixels, float32 (n,) in [0, 1].
    """
    is_core = np.zeros_like(is_nucleus)
    is_core[is_nucleus] = fall < MIN_FALL
    fill_holes(_bytes(is_core))
    return ~_eroded(~_eroded(is_core))  # a mask grows where what is outside of it shrinks


def _eroded(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask whose neighbourhood is all in it or beyond the image's borders.

    The neighbourhood is OpenCV's ellipse of 5 x 5 pixels: three rows, a pixel above and one below.
    """
    height, width = mask.shape
    padded = np.pad(mask, 2, constant_values=True)
    rows = padded[:, :width].copy()
    for column in range(1, 5):
        rows &= padded[:, column : column + width]
    return rows[1:-3] & rows[2:-2] & rows[3:-1] & padded[:height, 2:-2] & padded[4:, 2:-2]


def _inwardness(is_nucleus: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """How far inside of a nucleus, float64 (H, W) in [0, 1]: the reference's `dist`, but for its
    sign. As falls are multiples of 2^-24, it is one of 2^-28.
    """
    rise = np.zeros(is_nucleus.shape, dtype=np.float32)
    rise[is_nucleus] = 1.0 - fall
    return correlate(rise, _BLUR, _BLUR)


def _majority(
    labels: np.ndarray, shapes: NucleusMeasures, types: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The type of each nucleus, and the share of its pixels that have it."""
    is_nucleus, nr_types = labels > 0, int(types.max()) + 1
    pairs = labels[is_nucleus].astype(np.int64) * nr_types + types[is_nucleus]
    counts = np.bincount(pairs, minlength=(labels.max() + 1) * nr_types).reshape(-1, nr_types)
    counts = counts[shapes.label]  # (n, nr_types)
    counts[counts[:, 1:].any(axis=1), 0] = 0
    # The reference, too, divides by a little more than the area.
    return counts.argmax(axis=1), counts.max(axis=1, initial=0) / (shapes.features[_AREA] + 1e-6)


def _bytes(mask: np.ndarray) -> np.ndarray:
    return mask.view(np.uint8)
