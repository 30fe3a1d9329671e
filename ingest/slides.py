"""Slides and tiles: the slide's row, its patches, its pooled vector and its nuclei."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, cast

import numpy as np
import pyarrow as pa

from tumorbase.ingest.chosen_encoders import encoders_of
from tumorbase.ingest.item import Context, Item, ItemRows, VectorRows
from tumorbase.ingest.metadata_rows import metadata_rows
from tumorbase.ingest.patches import (
    PatchGrid,
    chosen_patches,
    encode_patches,
    patch_grid,
    tissue_fractions,
)
from tumorbase.ingest.pooled_slide import stage_pooled
from tumorbase.ingest.slide_nuclei import stage_slide_nuclei
from tumorbase.ingest.slide_plan import plan_slides
from tumorbase.ingest.slide_regions import stage_regions
from tumorbase.ingest.slide_source import SlideSource, open_slide
from tumorbase.ingest.slide_tissue import Tissue, look_for_tissue
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import Encoder
from tumorbase.models.pooling import RunningMoments
from tumorbase.store.errors import BadInput

__all__ = ["plan_slides", "read_slide"]


def read_slide(item: Item, context: Context) -> ItemRows:
    """Rows of one slide or tile: slide, patches with tissue, slide vector, and nuclei where it is
    fine enough (0.6 um a pixel).

    Patches are as `context.patches` says; those of a coarser slide are at its own mpp. A slide
    without tissue has its row, no patch and no vector.

    Raises:
        BadInput: as `open_slide`; pixels that cannot be read; the patient is not known.
    """
    if not item.patient_id:
        raise BadInput(item.path, "the patient is not known: patient_id is empty")
    started = perf_counter()
    ids = {"slide_id": item.details["slide_id"], "patient_id": item.patient_id}
    rows = ItemRows()
    with open_slide(item.path, context.mpp) as slide:
        tissue = look_for_tissue(slide)
        seconds = defaultdict(float, read=perf_counter() - started)
        rows.tables = _tables(slide, tissue, ids)
        grid = patch_grid(slide, context.patches)
        for encoder in encoders_of(context, "patch"):
            rows.vectors += stage_patches(slide, grid, tissue, encoder, ids, context, seconds)
        rows.vectors += stage_regions(slide, tissue, ids, context, seconds)
        rows.vectors += stage_slide_nuclei(slide, tissue, ids, context, seconds)
    rows.seconds = dict(seconds)
    return rows


def _tables(slide: SlideSource, tissue: Tissue, ids: dict[str, str]) -> dict[str, pa.Table]:
    row = {
        **ids,
        "path": slide.path,
        "vendor": slide.vendor,
        "mpp": slide.mpp,
        "width_px": slide.width_px,
        "height_px": slide.height_px,
        "tissue_mm2": tissue.area_mm2(slide.mpp),
    }
    patient = {"patient_id": [ids["patient_id"]]}
    return {
        "patient": metadata_rows("patient", patient),
        "slide": metadata_rows("slide", {name: [value] for name, value in row.items()}),
    }


def stage_patches(
    slide: SlideSource,
    grid: PatchGrid,
    tissue: Tissue,
    encoder: Encoder,
    ids: dict[str, str],
    context: Context,
    seconds: dict[str, float],
) -> list[VectorRows]:
    """Staged vectors of the patches, and of the slide if it has any patch.

    What the threads spent is added to `seconds["read"]` and `seconds["encode"]`.
    """
    moments = RunningMoments(encoder.spec.dim)
    fractions = tissue_fractions(grid, tissue.mask, tissue.step_px)

    def encode(pixels: np.ndarray) -> np.ndarray:
        return encoder.encode(cast(Sequence[Any], pixels))  # an array is a sequence of its rows

    def batches() -> Iterator[pa.RecordBatch]:
        for patches in encode_patches(slide, grid, chosen_patches(grid, fractions), encode):
            seconds["read"] += patches.read_seconds
            seconds["encode"] += patches.encode_seconds
            moments.add(patches.vectors)
            fraction = fractions[patches.row, patches.column]
            columns = _patch_columns(grid, patches.column, patches.row, fraction, ids)
            yield vector_batch(encoder.spec, columns, patches.vectors)

    staged = stage(context, encoder.spec, batches())
    return [staged, *stage_pooled(context, encoder.spec, moments, ids)]


def _patch_columns(
    grid: PatchGrid,
    column: np.ndarray,
    row: np.ndarray,
    fraction: np.ndarray,
    ids: dict[str, str],
) -> dict[str, object]:
    """Columns of `VECTOR_ROWS["patch"]`; the id is of the upper left corner."""
    x, y = column * grid.side_level0_px, row * grid.side_level0_px
    slide_id = ids["slide_id"]
    count = len(x)
    return {
        "patch_id": [f"{slide_id}/{left}_{top}" for left, top in zip(x, y, strict=True)],
        "slide_id": [slide_id] * count,
        "patient_id": [ids["patient_id"]] * count,
        "x_level0_px": x,
        "y_level0_px": y,
        "side_level0_px": np.full(count, grid.side_level0_px),
        "mpp": np.full(count, grid.mpp),
        "tissue_fraction": fraction,
    }
