"""Nuclei of a slide as HoVer-Net finds them, whole and once, whichever block they lie in.

Neither the network's maps nor what slopes are measured by depend on the block. A nucleus is of the
block in whose core its centroid lies; one that reaches farther than 20 um from there may be cut by
the border of what a block shows, and then be found twice or not at all.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import numpy as np
import pyarrow as pa

from tumorbase.ingest.nucleus_rows import Nuclei, nucleus_batch, selected
from tumorbase.ingest.patches import ahead
from tumorbase.ingest.scaled_slide import ScaledSlide
from tumorbase.ingest.slide_source import SlideSource
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.ingest.window_blocks import Block, counted_from, overlap, plan_blocks
from tumorbase.models.hovernet_encoder import (
    CELL_PX,
    MPP,
    SPAN_BLOCKS,
    HoVerNetEncoder,
    Prediction,
)
from tumorbase.models.hovernet_post import Instances, instances
from tumorbase.models.hovernet_slopes import Spans, spans_of
from tumorbase.models.hovernet_tiling import reflected
from tumorbase.models.nucleus_pooling import pool_under_nuclei
from tumorbase.models.virtual_stain import as_haematoxylin


@dataclass(frozen=True)
class _Shown:
    """A block and its pixels, uint8 (h, w, 3), and how long it took to read them."""

    block: Block
    image: np.ndarray
    read_seconds: float


@dataclass(frozen=True)
class _Predicted:
    """A block and what the network says of it, and how long it took to read and to run."""

    block: Block
    prediction: Prediction
    read_seconds: float
    network_seconds: float


@dataclass(frozen=True)
class _Search:
    """Where nuclei are looked for, and by what."""

    scaled: ScaledSlide
    tissue: Tissue
    encoder: HoVerNetEncoder
    ids: Mapping[str, str]


def hovernet_batches(
    slide: SlideSource,
    tissue: Tissue,
    encoder: HoVerNetEncoder,
    ids: Mapping[str, str],
    seconds: defaultdict[str, float],
) -> Iterator[pa.RecordBatch]:
    """Rows of the nuclei in tissue, block by block.

    The next blocks are read and go through the network while nuclei are told apart. What the
    threads spent is added to `seconds["read"]`, `["network"]` and `["nuclei"]`.
    """
    search = _Search(ScaledSlide(slide, MPP), tissue, encoder, ids)

    def read(block: Block) -> _Shown:
        started = perf_counter()
        image = _read(search, block)
        return _Shown(block, image, perf_counter() - started)

    def predict(shown: _Shown) -> _Predicted:
        started = perf_counter()
        prediction = _predict(search, shown)
        return _Predicted(shown.block, prediction, shown.read_seconds, perf_counter() - started)

    def tell_apart(this: _Predicted) -> tuple[pa.RecordBatch, dict[str, float]]:
        started = perf_counter()
        batch = _batch(search, this.block, this.prediction, spans)
        spent = {"read": this.read_seconds, "network": this.network_seconds}
        return batch, spent | {"nuclei": perf_counter() - started}

    blocks = plan_blocks(search.scaled, tissue, encoder.mode)
    predicted = _completed(ahead(predict, ahead(read, blocks), encoder.threads))
    first = deque(islice(predicted, SPAN_BLOCKS))
    if not first:
        return
    spans = _spans(first)
    for batch, spent in ahead(tell_apart, _emptied(first, predicted)):
        for part, passed in spent.items():
            seconds[part] += passed
        yield batch


def _emptied(first: deque[_Predicted], rest: Iterator[_Predicted]) -> Iterator[_Predicted]:
    """The first ones and the rest, none of them held."""
    while first:
        yield first.popleft()
    yield from rest


def _completed(predicted: Iterator[_Predicted]) -> Iterator[_Predicted]:
    """Each block with the outputs of the windows that it shares with the one before."""
    before: _Predicted | None = None
    for this in predicted:
        if before:
            shared = overlap(before.block.shown, this.block.shown)
            source = before.prediction.part(*counted_from(before.block.shown, shared))
            target = this.prediction.part(*counted_from(this.block.shown, shared))
            target.maps[:] = source.maps
            target.features[:] = source.features
        before = this
        yield this


def _read(search: _Search, block: Block) -> np.ndarray:
    """What the block's windows show, uint8 (h, w, 3); beyond the slide's borders, mirrored."""
    scaled, mode = search.scaled, search.encoder.mode
    places = []
    for axis, side_px in enumerate((scaled.height_px, scaled.width_px)):
        start = block.shown[axis].start
        length = block.to_run.shape[axis] * mode.output_px + mode.margin_px
        places.append(reflected(side_px, mode)[start : start + length])
    rows, columns = (slice(int(place.min()), int(place.max()) + 1) for place in places)
    pixels = scaled.read(rows, columns)
    image = pixels.take(places[0] - rows.start, axis=0).take(places[1] - columns.start, axis=1)
    return as_haematoxylin(image) if search.tissue.is_dark_field else image


def _predict(search: _Search, shown: _Shown) -> Prediction:
    """What the network says of what is shown of the slide."""
    whole = search.encoder.predict(shown.image, shown.block.to_run)
    height, width = (part.stop - part.start for part in shown.block.shown)
    return whole.part(slice(0, height), slice(0, width))


def _spans(some: Collection[_Predicted]) -> tuple[Spans, Spans]:
    """What the slopes of all blocks are measured by, from some of them."""
    x, y = (
        spans_of(
            [
                (np.ascontiguousarray(p.prediction.distances[..., i]), p.block.core_in_shown)
                for p in some
            ],
            axis,
        )
        for i, axis in enumerate("xy")
    )
    return x, y


def _batch(
    search: _Search, block: Block, prediction: Prediction, spans: tuple[Spans, Spans]
) -> pa.RecordBatch:
    """Rows of the nuclei that are the block's own."""
    scaled, encoder, slide_id = search.scaled, search.encoder, search.ids["slide_id"]
    nr_types = len(encoder.types) or None
    found = instances(
        prediction.probability, prediction.distances, prediction.types, nr_types, spans
    )
    shown, core = block.shown, block.core
    y_px = found.shapes.centroid[:, 0] + shown[0].start
    x_px = found.shapes.centroid[:, 1] + shown[1].start
    y, x = scaled.to_level0(y_px), scaled.to_level0(x_px)
    keep = (y_px >= core[0].start) & (y_px < core[0].stop)
    keep &= (x_px >= core[1].start) & (x_px < core[1].stop)
    keep &= search.tissue.holds(x, y)
    corner = f"{slide_id}/{encoder.spec.name}/{core[1].start}_{core[0].start}"
    means = pool_under_nuclei(prediction.features, found.labels, CELL_PX)
    types, probabilities = _typed(found, encoder.types)
    nuclei = Nuclei(
        nucleus_id=[f"{corner}_{label}" for label in found.shapes.label[keep]],
        x_level0_px=x[keep],
        y_level0_px=y[keep],
        shapes=selected(found.shapes, keep),
        shape_mpp=scaled.mpp,
        stated_mpp=scaled.mpp,
        type=types[keep].tolist(),
        type_probability=probabilities[keep].tolist(),
    )
    vectors = encoder.encode(means[keep])
    return nucleus_batch(encoder.spec, nuclei, vectors, slide_id, search.ids["patient_id"])


def _typed(found: Instances, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Name of each nucleus' type and its probability, None where it is background or none is told,
    objects (n,).
    """
    nothing = np.full(len(found.shapes.label), None, dtype=object)
    if found.type is None or found.type_prob is None:
        return nothing, nothing
    is_typed = found.type > 0
    return (
        np.where(is_typed, np.array(names, dtype=object)[found.type], nothing),
        np.where(is_typed, found.type_prob.astype(object), nothing),
    )
