"""Nuclei of a slide: found by HoVer-Net, or segmented block by block for the encoders of shapes.

None is cut by a border and none counted twice.
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
from tumorbase.ingest.patches import SAME_MPP, ahead
from tumorbase.ingest.slide_source import SlideSource, best_level, read_scaled
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
MAX_AREA_UM2 = (
    500.0  # of a disc of 25 um; a larger piece is keratin, a fold or a dark field's debris
)


Core = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Block:
    """Pixels of `scale` level-0 pixels: `rgb` begins at (left, top) in level-0 pixels. Nuclei with
    their centroid in the core, (left, top, right, bottom) in level-0 pixels, belong to the block.
    """

    rgb: np.ndarray
    left: int
    top: int
    scale: float
    core: Core
    read_seconds: float


def stage_slide_nuclei(
    slide: SlideSource,
    tissue: Tissue,
    ids: dict[str, str],
    context: Context,
    seconds: defaultdict[str, float],
    are_imported: bool,
) -> list[VectorRows]:
    """Staged rows of the nuclei in tissue; nothing for a slide coarser than 0.6 um a pixel.

    Nuclei that glow on a dark ground are told on a virtual haematoxylin stain. Where a file of
    nuclei is imported with the slide, only a network looks for others. The time spent is added to
    `seconds`.
    """
    if slide.mpp > MAX_MPP:
        return []
    staged = []
    for encoder in encoders_of(context, "nucleus"):
        if finds_nuclei(encoder):
            # Imports torch, which takes seconds.
            from tumorbase.ingest.hovernet_nuclei import hovernet_batches

            batches = hovernet_batches(slide, tissue, encoder, ids, seconds)
        elif not are_imported:
            batches = _segmented_batches(slide, tissue, encoder, ids, seconds)
        else:
            continue
        staged.append(stage(context, encoder.spec, batches))
    return staged


def _segmented_batches(
    slide: SlideSource,
    tissue: Tissue,
    encoder: Encoder,
    ids: dict[str, str],
    seconds: defaultdict[str, float],
) -> Iterator[pa.RecordBatch]:
    is_finer = slide.mpp * (1 + SAME_MPP) < WANTED_MPP
    downsample = WANTED_MPP / slide.mpp if is_finer else 1.0

    def read(core: Core) -> _Block:
        return _read_block(slide, core, downsample)

    for block in ahead(read, _cores(slide, tissue, downsample)):
        started = perf_counter()
        nuclei = _segmented(block, slide, tissue, ids["slide_id"])
        batch = shape_batch(encoder, nuclei, ids["slide_id"], ids["patient_id"])
        seconds["read"] += block.read_seconds
        seconds["encode"] += perf_counter() - started
        yield batch


def _cores(slide: SlideSource, tissue: Tissue, downsample: float) -> Iterator[Core]:
    """Cores with tissue, row by row; together they cover the slide without overlap."""
    core, step = round(CORE_PX * downsample), tissue.step_px
    for top in range(0, slide.height_px, core):
        for left in range(0, slide.width_px, core):
            right, bottom = min(left + core, slide.width_px), min(top + core, slide.height_px)
            rows = slice(top // step, bottom // step + 1)
            if tissue.mask[rows, left // step : right // step + 1].any():
                yield left, top, right, bottom


def _read_block(slide: SlideSource, core: Core, downsample: float) -> _Block:
    """The core with its margin, as far as the slide reaches."""
    started = perf_counter()
    margin = math.ceil(MARGIN_UM / slide.mpp)
    left, top = max(0, core[0] - margin), max(0, core[1] - margin)
    right, bottom = min(core[2] + margin, slide.width_px), min(core[3] + margin, slide.height_px)
    size = (max(1, round((right - left) / downsample)), max(1, round((bottom - top) / downsample)))
    level = best_level(slide, downsample)
    rgb = read_scaled(slide, level, (left, top, right, bottom), size)
    return _Block(rgb, left, top, downsample, core, perf_counter() - started)


def _segmented(block: _Block, slide: SlideSource, tissue: Tissue, slide_id: str) -> Nuclei:
    """The nuclei whose centroid lies in the block's core, and in tissue."""
    rgb = as_haematoxylin(block.rgb) if tissue.is_dark_field else block.rgb
    mpp = slide.mpp * block.scale
    shapes = measure(segment_nuclei(rgb, mpp))
    # Pixel centres: the middle of pixel 0 lies half a pixel from its edge on either grid.
    y, x = ((shapes.centroid + 0.5) * block.scale - 0.5).T
    x, y = x + block.left, y + block.top
    left, top, right, bottom = block.core
    is_core = (x >= left) & (y >= top)
    is_core &= ((x < right) | (right == slide.width_px)) & (
        (y < bottom) | (bottom == slide.height_px)
    )
    is_nucleus = shapes.features[FEATURES.index("area")] * mpp**2 <= MAX_AREA_UM2
    keep = is_core & is_nucleus & tissue.holds(x, y)
    names = [f"{slide_id}/{left}_{top}_{label}" for label in shapes.label[keep]]
    count = len(names)
    return Nuclei(
        names, x[keep], y[keep], selected(shapes, keep), mpp, mpp, [None] * count, [None] * count
    )
