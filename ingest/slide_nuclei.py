"""Nuclei of a slide: found by HoVer-Net, or segmented block by block for the encoders of shapes.

Each is of the block whose core its centroid lies in, so that none is counted twice; one that
reaches farther than 20 um from there may be cut.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pyarrow as pa

from tumorbase.ingest.chosen_encoders import encoders_of, finds_nuclei
from tumorbase.ingest.item import Context, VectorRows
from tumorbase.ingest.nucleus_rows import Nuclei, selected, shape_batch
from tumorbase.ingest.patches import ahead
from tumorbase.ingest.scaled_slide import ScaledSlide
from tumorbase.ingest.slide_source import SlideSource
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.ingest.staging import stage
from tumorbase.models.encoders import Encoder
from tumorbase.models.nucleus_segmentation import segment_nuclei
from tumorbase.models.nucleus_shape import FEATURES, measure
from tumorbase.models.virtual_stain import as_haematoxylin

MAX_MPP = 0.6  # a coarser slide does not resolve the outline of a nucleus
WANTED_MPP = 0.25  # of 40x; a finer slide is read at this
CORE_PX = 1024
MARGIN_UM = 20.0  # more than a nucleus reaches from its centre
MAX_AREA_UM2 = 500.0  # of a disc of 25 um; larger are keratin, folds and a dark field's debris

Part = tuple[slice, slice]  # rows and columns of the scaled slide


@dataclass(frozen=True)
class _Block:
    """What is shown of the slide, uint8 (h, w, 3). Nuclei with their centroid in the core are of
    the block.
    """

    rgb: np.ndarray
    shown: Part
    core: Part
    read_seconds: float


def stage_slide_nuclei(
    slide: SlideSource,
    tissue: Tissue,
    ids: dict[str, str],
    context: Context,
    seconds: defaultdict[str, float],
) -> list[VectorRows]:
    """Staged rows of the nuclei in tissue; nothing for a slide coarser than 0.6 um a pixel.

    Nuclei that glow on a dark ground are told on a virtual haematoxylin stain. The time spent is
    added to `seconds`.
    """
    if slide.mpp > MAX_MPP:
        return []
    staged = []
    for encoder in encoders_of(context, "nucleus"):
        if finds_nuclei(encoder):
            # Imports torch, which takes seconds.
            from tumorbase.ingest.hovernet_nuclei import hovernet_batches

            batches = hovernet_batches(slide, tissue, encoder, ids, seconds)
        else:
            batches = _segmented_batches(slide, tissue, encoder, ids, seconds)
        staged.append(stage(context, encoder.spec, batches))
    return staged


def _segmented_batches(
    slide: SlideSource,
    tissue: Tissue,
    encoder: Encoder,
    ids: dict[str, str],
    seconds: defaultdict[str, float],
) -> Iterator[pa.RecordBatch]:
    scaled = ScaledSlide(slide, max(WANTED_MPP, slide.mpp))

    def read(core: Part) -> _Block:
        return _read_block(scaled, core)

    for block in ahead(read, _cores(scaled, tissue)):
        started = perf_counter()
        nuclei = _segmented(block, scaled, tissue, ids["slide_id"])
        batch = shape_batch(encoder, nuclei, ids["slide_id"], ids["patient_id"])
        seconds["read"] += block.read_seconds
        seconds["encode"] += perf_counter() - started
        yield batch


def _cores(scaled: ScaledSlide, tissue: Tissue) -> Iterator[Part]:
    """Cores with tissue, row by row; together they cover the slide without overlap."""
    step = tissue.step_px / scaled.scale  # scaled pixels a pixel of the mask
    for top in range(0, scaled.height_px, CORE_PX):
        for left in range(0, scaled.width_px, CORE_PX):
            bottom = min(top + CORE_PX, scaled.height_px)
            right = min(left + CORE_PX, scaled.width_px)
            rows = slice(int(top // step), int(bottom // step) + 1)
            if tissue.mask[rows, int(left // step) : int(right // step) + 1].any():
                yield slice(top, bottom), slice(left, right)


def _read_block(scaled: ScaledSlide, core: Part) -> _Block:
    """The core with its margin, as far as the slide reaches."""
    started = perf_counter()
    margin_px = math.ceil(MARGIN_UM / scaled.mpp)
    rows, columns = (
        slice(max(0, part.start - margin_px), min(part.stop + margin_px, side_px))
        for part, side_px in zip(core, (scaled.height_px, scaled.width_px), strict=True)
    )
    rgb = scaled.read(rows, columns)
    return _Block(rgb, (rows, columns), core, perf_counter() - started)


def _segmented(block: _Block, scaled: ScaledSlide, tissue: Tissue, slide_id: str) -> Nuclei:
    """The nuclei whose centroid lies in the block's core, and in tissue."""
    rgb = as_haematoxylin(block.rgb) if tissue.is_dark_field else block.rgb
    mpp = scaled.mpp
    shapes = measure(segment_nuclei(rgb, mpp))
    rows, columns = block.core
    y_px, x_px = (shapes.centroid + [part.start for part in block.shown]).T
    is_core = (y_px >= rows.start) & (y_px < rows.stop)
    is_core &= (x_px >= columns.start) & (x_px < columns.stop)
    y, x = scaled.to_level0(y_px), scaled.to_level0(x_px)
    is_nucleus = shapes.features[FEATURES.index("area")] * mpp**2 <= MAX_AREA_UM2
    keep = is_core & is_nucleus & tissue.holds(x, y)
    corner = f"{slide_id}/{columns.start}_{rows.start}"
    names = [f"{corner}_{label}" for label in shapes.label[keep]]
    count = len(names)
    return Nuclei(
        names, x[keep], y[keep], selected(shapes, keep), mpp, mpp, [None] * count, [None] * count
    )
