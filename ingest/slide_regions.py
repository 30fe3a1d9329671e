"""Regions of a slide, squares of 16 x 16 patches: their vectors, and what is pooled from them."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np
import pyarrow as pa

from tumorbase.ingest.chosen_encoders import encoders_of
from tumorbase.ingest.item import Context, VectorRows
from tumorbase.ingest.patches import (
    PatchGrid,
    ahead,
    chosen_patches,
    patch_grid,
    read_rectangle,
    tissue_fractions,
)
from tumorbase.ingest.pooled_slide import stage_pooled
from tumorbase.ingest.slide_source import SlideSource
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import Encoder
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.models.pooling import RunningMoments
from tumorbase.models.slide_region import MPP, PATCH_PX, PATCHES_A_SIDE, SlideRegion

Place = tuple[slice, slice]  # columns and rows of the grid of patches


def stage_regions(
    slide: SlideSource,
    tissue: Tissue,
    ids: dict[str, str],
    context: Context,
    seconds: dict[str, float],
) -> list[VectorRows]:
    """The vectors of regions with tissue by each encoder of these, and what is pooled from them:
    each region weighs as many patches as show tissue in it. None of a slide without tissue.

    The time spent is added to `seconds["encode"]`; regions are read ahead beside.
    """
    encoders = encoders_of(context, "region")
    if not encoders:
        return []
    grid = patch_grid(slide, PatchGeometry(MPP, PATCH_PX))
    chosen = chosen_patches(grid, tissue_fractions(grid, tissue.mask, tissue.step_px))

    def read(place: Place) -> tuple[Place, SlideRegion]:
        columns, rows = place
        pixels = read_rectangle(slide, grid, columns, rows)
        return place, SlideRegion(pixels, int(chosen[rows, columns].sum()))

    def batches(encoder: Encoder, moments: RunningMoments) -> Iterator[pa.RecordBatch]:
        for place, region in ahead(read, _places(chosen)):
            started = perf_counter()
            vector = encoder.encode([region])
            seconds["encode"] += perf_counter() - started
            moments.add(vector, region.tissue_patches)
            columns = _columns(grid, place, region.tissue_patches, ids)
            yield vector_batch(encoder.spec, columns, vector)

    staged = []
    for encoder in encoders:
        moments = RunningMoments(encoder.spec.dim)
        staged.append(stage(context, encoder.spec, batches(encoder, moments)))
        staged += stage_pooled(context, encoder.spec, moments, ids)
    return staged


def _places(chosen: np.ndarray) -> Iterator[Place]:
    """The regions that have a chosen patch, by rows; those at the border may be smaller."""
    height, width = chosen.shape
    for top in range(0, height, PATCHES_A_SIDE):
        for left in range(0, width, PATCHES_A_SIDE):
            rows = slice(top, min(top + PATCHES_A_SIDE, height))
            columns = slice(left, min(left + PATCHES_A_SIDE, width))
            if chosen[rows, columns].any():
                yield columns, rows


def _columns(
    grid: PatchGrid, place: Place, tissue_patches: int, ids: dict[str, str]
) -> dict[str, object]:
    """Columns of `VECTOR_ROWS["region"]`, one row; the id is of the upper left corner."""
    columns, rows = place
    side = grid.side_level0_px
    left, top = columns.start * side, rows.start * side
    return {
        "region_id": [f"{ids['slide_id']}/{left}_{top}"],
        "slide_id": [ids["slide_id"]],
        "patient_id": [ids["patient_id"]],
        "x_level0_px": [left],
        "y_level0_px": [top],
        "width_level0_px": [(columns.stop - columns.start) * side],
        "height_level0_px": [(rows.stop - rows.start) * side],
        "mpp": [grid.mpp],
        "tissue_patches": [tissue_patches],
    }
