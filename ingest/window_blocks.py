"""Blocks of a slide's windows, in which HoVer-Net is run.

Windows lie on one grid over the slide, whichever block they are run in. Blocks overlap by about
40 um, and what belongs to a block has its centre in the block's core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tumorbase.ingest.scaled_slide import ScaledSlide
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.models.hovernet import Mode
from tumorbase.models.hovernet_encoder import BLOCK_PX, OVERLAP_PX, REACH_PX, SPAN_BLOCKS

Part = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Block:
    """What is shown of the scaled slide, in whole outputs of windows up to the slide's borders; the
    core; and which of its windows to run, bool (rows, columns): those with tissue, but for those
    that the block before shows as well.
    """

    shown: Part
    core: Part
    to_run: np.ndarray

    @property
    def core_in_shown(self) -> Part:
        """What is shown of the core, counted from the corner of what is shown."""
        return counted_from(self.shown, overlap(self.core, self.shown))


def plan_blocks(scaled: ScaledSlide, tissue: Tissue, mode: Mode) -> list[Block]:
    """The blocks with tissue in their core, trimmed to their windows with tissue. Cores, with those
    of blocks without tissue, cover the slide without overlap.

    They come row by row, but that `SPAN_BLOCKS` of them come before all others: of each of as many
    equal shares of the blocks, the one with the most tissue.
    """
    output_px = mode.output_px
    sides_px = scaled.height_px, scaled.width_px
    has_tissue = _windows_with_tissue(scaled, tissue, output_px)
    rows, columns = (
        list(_stretches(side_px, block_px, output_px))
        for side_px, block_px in zip(sides_px, BLOCK_PX, strict=True)
    )
    planned: list[tuple[Part, Part]] = []  # windows that are shown, and the core in pixels
    for shown_rows, core_rows in rows:
        for shown_columns, core_columns in columns:
            core = core_rows, core_columns
            if has_tissue[_windows(core, output_px)].any():
                shown = _trimmed((shown_rows, shown_columns), has_tissue)
                planned.append((shown, core))
    order = _fullest_first([int(has_tissue[shown].sum()) for shown, _ in planned])
    blocks = []
    before: Part = slice(0, 0), slice(0, 0)
    for shown, core in map(planned.__getitem__, order):
        to_run = has_tissue[shown].copy()
        to_run[counted_from(shown, overlap(before, shown))] = False
        blocks.append(Block(_pixels(shown, output_px, sides_px), core, to_run))
        before = shown
    return blocks


def overlap(a: Part, b: Part) -> Part:
    """The part that two parts share; of no extent if they share none."""
    rows, columns = (
        slice(start := max(x.start, y.start), max(start, min(x.stop, y.stop)))
        for x, y in zip(a, b, strict=True)
    )
    return rows, columns


def counted_from(origin: Part, part: Part) -> Part:
    """A part, counted from the corner of another."""
    rows, columns = (
        slice(x.start - o.start, x.stop - o.start) for o, x in zip(origin, part, strict=True)
    )
    return rows, columns


def _stretches(side_px: int, block_px: int, output_px: int) -> Iterator[tuple[slice, slice]]:
    """Windows that blocks show along one axis, and the pixels of their cores."""
    outputs = -(-side_px // output_px)
    length, shared = round(block_px / output_px), round(OVERLAP_PX / output_px)
    margin_px = shared * output_px // 2
    for first in range(0, max(1, outputs - shared), length - shared):
        stop = min(first + length, outputs)
        core_start = first * output_px + margin_px if first > 0 else 0
        core_stop = stop * output_px - margin_px if stop < outputs else side_px
        yield slice(first, stop), slice(core_start, core_stop)


def _windows(part: Part, output_px: int) -> Part:
    """The windows in whose outputs the pixels of a part lie."""
    rows, columns = (slice(x.start // output_px, -(-x.stop // output_px)) for x in part)
    return rows, columns


def _pixels(windows: Part, output_px: int, sides_px: tuple[int, int]) -> Part:
    """What windows output, up to the slide's borders."""
    rows, columns = (
        slice(x.start * output_px, min(x.stop * output_px, side_px))
        for x, side_px in zip(windows, sides_px, strict=True)
    )
    return rows, columns


def _trimmed(windows: Part, has_tissue: np.ndarray) -> Part:
    """Without the rows and columns at the ends that have no tissue."""
    row, column = np.nonzero(has_tissue[windows])
    rows, columns = (
        slice(x.start + int(there.min()), x.start + int(there.max()) + 1)
        for x, there in zip(windows, (row, column), strict=True)
    )
    return rows, columns


def _fullest_first(tissue: Sequence[int]) -> list[int]:
    """Indices of blocks in the order of `plan_blocks`, by how many windows have tissue in each."""
    count = min(SPAN_BLOCKS, len(tissue))
    shares = np.array_split(np.arange(len(tissue)), count) if count else []
    first = [int(max(share, key=tissue.__getitem__)) for share in shares]
    return [*first, *sorted(set(range(len(tissue))) - set(first))]


def _windows_with_tissue(scaled: ScaledSlide, tissue: Tissue, output_px: int) -> np.ndarray:
    """Which windows have tissue in their output, or so near that nuclei there reach into it, bool
    (rows, columns).
    """
    has_tissue = tissue.mask
    for axis, side_px in enumerate((scaled.height_px, scaled.width_px)):
        start_px = np.arange(-(-side_px // output_px)) * output_px
        first = (start_px - REACH_PX) * scaled.scale / tissue.step_px
        past = (start_px + output_px + REACH_PX) * scaled.scale / tissue.step_px
        last = tissue.mask.shape[axis] - 1
        parts = [
            has_tissue.take(np.arange(a, b), axis).any(axis)
            for a, b in zip(
                np.floor(first).astype(int).clip(0, last),
                np.ceil(past).astype(int).clip(1, last + 1),
                strict=True,
            )
        ]
        has_tissue = np.stack(parts, axis)
    return has_tissue
