"""Outlines of nuclei, as HoVer-Net and other tools write them into their files."""

from __future__ import annotations

import numpy as np

from tumorbase.models._outlines import trace
from tumorbase.models.nucleus_shape import NucleusMeasures


def outlines(labels: np.ndarray, shapes: NucleusMeasures) -> list[np.ndarray]:
    """The outer border of each nucleus, in the order of `shapes`: corners as (x, y), int32 (k, 2).

    Borders run through the middles of a nucleus' outermost pixels and of each straight stretch only
    the ends are named: OpenCV's findContours with CHAIN_APPROX_SIMPLE. Of a nucleus in pieces, it
    is the border of the piece that comes first, row by row.

    Args:
        labels: integers (H, W).
        shapes: `nucleus_shape.measure` of them.
    """
    label = shapes.label.astype(np.int32)
    top = shapes.bbox[:, 0].astype(np.int32)
    rows = np.ascontiguousarray(labels, dtype=np.int32)
    first = (rows[top] == label[:, None]).argmax(axis=1).astype(np.int32)  # (n,)
    points, lengths = trace(rows, label, first, top)
    return np.split(points, np.cumsum(lengths)[:-1]) if len(label) else []
