"""Blocks of a slide's windows, in which HoVer-Net is run.

Windows lie on one grid over the slide, whichever block they are run in. Blocks overlap by about
40 um, and what belongs to a block has its centre in the block's core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tumorbase.ingest.scaled_slide import ScaledSlide
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.models.hovernet import Mode
from tumorbase.models.hovernet_encoder import BLOCK_PX, OVERLAP_PX, SPAN_BLOCKS

Part = tuple[slice, slice]  # rows and columns of the scaled slide


@dataclass(frozen=True)
class Block:
    """What is shown of the slide, in whole outputs of windows up to the slide's borders; the core;
    and in which of its windows' outputs there is tissue, bool (rows, columns).
    """

    shown: Part
    core: Part
    has_tissue: np.ndarray

    @property
    def core_in_shown(self) -> Part:
        """The core, counted from the corner of what is shown."""
        rows, columns = (
            slice(core.start - shown.start, core.stop - shown.start)
            for core, shown in zip(self.core, self.shown, strict=True)
        )
        return rows, columns


def plan_blocks(scaled: ScaledSlide, tissue: Tissue, mode: Mode) -> list[Block]:
    """The blocks that hold tissue. Their cores cover the slide without overlap.

    They come row by row, but that `SPAN_BLOCKS` of them, spread evenly, come before all others.
    """
    output_px = mode.output_px
    has_tissue = _windows_with_tissue(scaled, tissue, output_px)
    blocks = []
    for shown_rows, core_rows in _stretches(scaled.height_px, output_px):
        for shown_columns, core_columns in _stretches(scaled.width_px, output_px):
            rows, columns = (
                slice(part.start // output_px, -(-part.stop // output_px))
                for part in (shown_rows, shown_columns)
            )
            if has_tissue[rows, columns].any():
                shown, core = (shown_rows, shown_columns), (core_rows, core_columns)
                blocks.append(Block(shown, core, has_tissue[rows, columns]))
    spread = np.linspace(0, len(blocks) - 1, min(SPAN_BLOCKS, len(blocks))).astype(int)
    rest = np.setdiff1d(np.arange(len(blocks)), spread)
    return [blocks[i] for i in (*spread, *rest)]


def _stretches(side_px: int, output_px: int) -> Iterator[tuple[slice, slice]]:
    """What blocks show of one axis, and their cores."""
    outputs = -(-side_px // output_px)
    length, overlap = round(BLOCK_PX / output_px), round(OVERLAP_PX / output_px)
    margin_px = overlap * output_px // 2
    for first in range(0, max(1, outputs - overlap), length - overlap):
        start, stop = first * output_px, min((first + length) * output_px, side_px)
        core_start = start + margin_px if first > 0 else 0
        core_stop = stop - margin_px if stop < side_px else side_px
        yield slice(start, stop), slice(core_start, core_stop)


def _windows_with_tissue(scaled: ScaledSlide, tissue: Tissue, output_px: int) -> np.ndarray:
    """Whether there is tissue in the output of each window of the slide, bool (rows, columns)."""
    side = output_px * scaled.scale / tissue.step_px  # pixels of the mask
    has_tissue = tissue.mask
    for axis, side_px in enumerate((scaled.height_px, scaled.width_px)):
        outputs = np.arange(-(-side_px // output_px))
        first = np.minimum(outputs * side, tissue.mask.shape[axis] - 1).astype(int)
        past = np.maximum(np.ceil((outputs + 1) * side).astype(int), first + 1)
        parts = [
            has_tissue.take(np.arange(a, b), axis, mode="clip").any(axis)
            for a, b in zip(first, past, strict=True)
        ]
        has_tissue = np.stack(parts, axis)
    return has_tissue
