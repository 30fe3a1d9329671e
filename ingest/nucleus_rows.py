"""Rows of nuclei: labels or contours become places, shapes and vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from tumorbase.ingest.staging import vector_batch
from tumorbase.models.encoders import Encoder, EncoderSpec
from tumorbase.models.nucleus_shape import (
    FEATURES,
    NucleusMeasures,
    feature_matrix,
    in_micrometres,
    measure,
)

CANVAS_PX = 4_000_000  # pixels of the label canvas on which contours are drawn at once


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of one slide: ids and places, and the shapes in pixels of `shape_mpp`.

    `x_level0_px` and `y_level0_px` are centroids, float64 (n,). `stated_mpp` is what the row says:
    None where the source does not know it, and `shape_mpp` is then its convention.
    """

    nucleus_id: Sequence[str]
    x_level0_px: np.ndarray
    y_level0_px: np.ndarray
    shapes: NucleusMeasures
    shape_mpp: float
    stated_mpp: float | None
    type: Sequence[str | None]
    type_probability: Sequence[float | None]


@dataclass(frozen=True)
class Contours:
    """Outlines of nuclei, one after the other: `points` float64 (sum of lengths, 2) as (x, y), and
    `lengths` int64 (n,), each at least 1.
    """

    points: np.ndarray
    lengths: np.ndarray


def shape_batch(encoder: Encoder, nuclei: Nuclei, slide_id: str, patient_id: str) -> pa.RecordBatch:
    """As `nucleus_batch`, with the vectors of an encoder of shapes."""
    rows = feature_matrix(in_micrometres(nuclei.shapes.table(), nuclei.shape_mpp))
    vectors = encoder.encode(cast(Sequence[Any], rows))  # an array is a sequence of its rows
    return nucleus_batch(encoder.spec, nuclei, vectors, slide_id, patient_id)


def nucleus_batch(
    spec: EncoderSpec, nuclei: Nuclei, vectors: np.ndarray, slide_id: str, patient_id: str
) -> pa.RecordBatch:
    """Rows of `VECTOR_ROWS["nucleus"]` with the shape features in pixels, and the vectors."""
    table = nuclei.shapes.table()
    count = table.num_rows
    columns = {
        "nucleus_id": nuclei.nucleus_id,
        "slide_id": [slide_id] * count,
        "patient_id": [patient_id] * count,
        "x_level0_px": nuclei.x_level0_px,
        "y_level0_px": nuclei.y_level0_px,
        "mpp": [nuclei.stated_mpp] * count,
        "type": nuclei.type,
        "type_probability": nuclei.type_probability,
    }
    return vector_batch(spec, columns, vectors, {name: table[name] for name in FEATURES})


def selected(shapes: NucleusMeasures, keep: np.ndarray) -> NucleusMeasures:
    """The nuclei that `keep` names, a bool mask or indices."""
    return NucleusMeasures(
        shapes.label[keep], shapes.features[:, keep], shapes.centroid[keep], shapes.bbox[keep]
    )


def measured_contours(contours: Contours) -> Iterator[tuple[np.ndarray, NucleusMeasures]]:
    """Shapes of what the contours enclose, borders included, some nuclei at a time.

    Yields:
        Indices of nuclei, int64 (m,), and their measures: centroids as (y, x) in the contours' own
        pixels, in the order of the indices.
    """
    points = np.rint(contours.points).astype(np.int64)
    start = np.cumsum(contours.lengths) - contours.lengths
    low = np.minimum.reduceat(points, start, axis=0)
    size = np.maximum.reduceat(points, start, axis=0) - low + 1  # (n, 2) as width, height
    # Nuclei of like width share a canvas, one under the other, a free row between them. None is
    # twice as wide as another, or one wide outline would be laid beside a column of empty canvas.
    order = np.argsort(size[:, 0], kind="stable")
    spent = np.cumsum((size[order, 0] + 1) * (size[order, 1] + 1)) // CANVAS_PX
    doublings = np.log2(size[order, 0]).astype(np.int64)
    is_next = (np.diff(spent) > 0) | (np.diff(doublings) > 0)
    for chosen in np.split(order, np.flatnonzero(is_next) + 1):
        yield chosen, _measured(points, contours.lengths, start, low, size, chosen)


def _measured(
    points: np.ndarray,
    lengths: np.ndarray,
    start: np.ndarray,
    low: np.ndarray,
    size: np.ndarray,
    chosen: np.ndarray,
) -> NucleusMeasures:
    top = np.cumsum(size[chosen, 1] + 1) - size[chosen, 1] - 1  # canvas row of each nucleus
    owner = np.repeat(np.arange(len(chosen)), lengths[chosen])
    within = np.arange(len(owner)) - np.repeat(
        np.cumsum(lengths[chosen]) - lengths[chosen], lengths[chosen]
    )
    taken = np.repeat(start[chosen], lengths[chosen]) + within
    shift = np.stack([-low[chosen, 0], top - low[chosen, 1]], axis=1)
    placed = points[taken] + shift[owner]
    last = within == np.repeat(lengths[chosen], lengths[chosen]) - 1
    following = np.where(last, np.arange(len(owner)) - within, np.arange(len(owner)) + 1)
    shape = (int(top[-1] + size[chosen[-1], 1]) + 1, int(size[chosen, 0].max()))
    shapes = measure(filled(placed, placed[following], owner + 1, shape))
    centroid = shapes.centroid - shift[:, ::-1]
    return NucleusMeasures(shapes.label, shapes.features, centroid, shapes.bbox)


def filled(
    starts: np.ndarray, ends: np.ndarray, labels: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """A label map of polygons, int32 `shape`, by the even-odd rule on all edges at once.

    Borders belong to the polygon, as contours run through the middles of its outermost pixels.

    Args:
        starts: of each edge, integer (edges, 2) as (x, y), inside of `shape`.
        ends: of each edge, as `starts`.
        labels: the polygon of each edge, from 1, (edges,). A polygon lies in rows
            below those of the lower labels.
        shape: (rows, columns).
    """
    row_label = np.zeros(shape[0], dtype=np.int32)
    row_label[starts[:, 1]] = labels
    inside = np.zeros((shape[0], shape[1] + 1), dtype=np.int16)
    x, y = _crossings(starts, ends)
    order = np.lexsort((x, y))
    x, y = x[order], y[order]
    # Each row has an even number of crossings: those at odd places end what the one before began.
    first, last = np.ceil(x[0::2]).astype(np.int64), np.floor(x[1::2]).astype(np.int64)
    row, is_run = y[0::2], last >= first
    np.add.at(inside, (row[is_run], first[is_run]), 1)
    np.add.at(inside, (row[is_run], last[is_run] + 1), -1)
    is_filled = np.cumsum(inside[:, :-1], axis=1, dtype=np.int16) > 0
    is_filled[_lattice_points(starts, ends)] = True
    return is_filled * np.maximum.accumulate(row_label)[:, None]


def _lattice_points(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels on the edges: row and column of each."""
    span = np.abs(ends - starts).max(axis=1)
    edge = np.repeat(np.arange(len(span)), span + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(span + 1) - span - 1, span + 1)
    share = step / np.maximum(span[edge], 1)
    # Halves up, not to even: a nucleus must not change with the place of its canvas.
    pixel = starts[edge] + np.floor((ends - starts)[edge] * share[:, None] + 0.5).astype(np.int64)
    return pixel[:, 1], pixel[:, 0]


def _crossings(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where edges cross the rows: x and row of each; an edge's lower end is not part of it."""
    is_down = (starts[:, 1] <= ends[:, 1])[:, None]
    upper, lower = np.where(is_down, starts, ends), np.where(is_down, ends, starts)
    rows = lower[:, 1] - upper[:, 1]
    edge = np.repeat(np.arange(len(rows)), rows)
    down = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows)
    slope = (lower[:, 0] - upper[:, 0])[edge] / np.maximum(rows, 1)[edge]
    return upper[edge, 0] + slope * down, upper[edge, 1] + down
