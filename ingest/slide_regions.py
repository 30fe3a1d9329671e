"""Regions of a slide, squares of 16 x 16 patches, and the slide's vector that is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np

from tumorbase.ingest.chosen_encoders import encoders_of
from tumorbase.ingest.item import Context, VectorRows
from tumorbase.ingest.patches import (
    ahead,
    chosen_patches,
    patch_grid,
    read_rectangle,
    tissue_fractions,
)
from tumorbase.ingest.slide_source import SlideSource
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.models.slide_region import MPP, PATCH_PX, PATCHES_A_SIDE, SlideRegion

Place = tuple[slice, slice]  # columns and rows of the grid of patches


def stage_slide_vectors(
    slide: SlideSource,
    tissue: Tissue,
    ids: dict[str, str],
    context: Context,
    seconds: dict[str, float],
) -> list[VectorRows]:
    """The slide's vector by each encoder of whole slides; none of a slide without tissue.

    The time spent is added to `seconds["encode"]`; regions are read ahead beside.
    """
    encoders = encoders_of(context, "slide")
    if not encoders:
        return []
    grid = patch_grid(slide, PatchGeometry(MPP, PATCH_PX))
    chosen = chosen_patches(grid, tissue_fractions(grid, tissue.mask, tissue.step_px))
    if not chosen.any():
        return []

    def read(place: Place) -> SlideRegion:
        columns, rows = place
        pixels = read_rectangle(slide, grid, columns, rows)
        return SlideRegion(pixels, int(chosen[rows, columns].sum()))

    staged = []
    for encoder in encoders:
        started = perf_counter()
        vectors = encoder.encode([ahead(read, _places(chosen))])
        seconds["encode"] += perf_counter() - started
        columns = {name: [value] for name, value in ids.items()}
        staged.append(stage(context, encoder.spec, [vector_batch(encoder.spec, columns, vectors)]))
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
