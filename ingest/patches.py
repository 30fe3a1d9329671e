"""Patches of a slide: a grid in level-0 pixels at one mpp, read ahead of who uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from tumorbase.ingest.slide_source import SlideSource, best_level, read_scaled
from tumorbase.models.patch_geometry import PatchGeometry

MIN_TISSUE_FRACTION = 0.2
SAME_MPP = 0.05  # a nominal 0.5 is 0.4990 or 0.5040 by scanner: taken as it is, without resampling
BLOCK_PX = 2048  # what is read at once, in pixels of the level read
READERS = 2  # where OpenSlide composes a patch, it takes as long as the built-in encoder
FEWEST = 8  # patches of a piece: as many as a processor's batch, so that few batches are cut short
Place = TypeVar("Place")
Read = TypeVar("Read")


@dataclass(frozen=True)
class PatchGrid:
    """Square patches side by side from the slide's upper left corner, without overlap.

    What remains at the right and lower border is left out, but a slide smaller than a patch has one
    patch all the same, filled up by its mirror image.
    """

    side_level0_px: int
    side_px: int  # as encoded
    mpp: float  # as encoded
    level: int  # from which it is read
    columns: int
    rows: int
    block: int  # patches a side of the blocks that are read at once
    is_whole_slide: bool  # its one patch reaches over the slide's border on both sides


@dataclass(frozen=True)
class EncodedPatches:
    """Vectors of one piece's patches, float32 (n, dim), their places (n,), a thread's seconds."""

    vectors: np.ndarray
    column: np.ndarray
    row: np.ndarray
    read_seconds: float
    encode_seconds: float


def patch_grid(slide: SlideSource, patches: PatchGeometry) -> PatchGrid:
    """The grid of patches of a slide.

    A slide within 5 % of `patches.mpp` is read as it is; a coarser one is never enlarged: its
    patches are at its own mpp. Both say so in `mpp`.
    """
    is_fine = slide.mpp < patches.mpp / (1.0 + SAME_MPP)
    side = _whole_side(slide, patches) if is_fine else patches.side_px
    mpp = slide.mpp * side / patches.side_px
    level = best_level(slide, side / patches.side_px)
    columns, rows = max(1, slide.width_px // side), max(1, slide.height_px // side)
    block = max(1, int(BLOCK_PX * slide.downsamples[level] / side))
    is_whole_slide = slide.width_px < side and slide.height_px < side
    return PatchGrid(side, patches.side_px, mpp, level, columns, rows, block, is_whole_slide)


def _whole_side(slide: SlideSource, patches: PatchGeometry) -> int:
    """A patch's side in level-0 pixels; whole pixels of a level that has about this mpp."""
    downsample = patches.mpp / slide.mpp
    for level_downsample in slide.downsamples:
        if abs(level_downsample / downsample - 1.0) <= SAME_MPP:
            return round(patches.side_px * level_downsample)
    return round(patches.side_px * downsample)


def tissue_fractions(grid: PatchGrid, mask: np.ndarray, mask_step_px: int) -> np.ndarray:
    """The share of tissue in each patch, float32 (rows, columns).

    Args:
        grid: of the patches.
        mask: bool (H, W), where there is tissue.
        mask_step_px: level-0 pixels a pixel of the mask.
    """
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    total[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)  # Crow (1984): sums over any rectangle
    tops, bottoms = _edges(grid.rows, grid.side_level0_px, mask_step_px, mask.shape[0])
    lefts, rights = _edges(grid.columns, grid.side_level0_px, mask_step_px, mask.shape[1])
    inside = (
        total[np.ix_(bottoms, rights)]
        - total[np.ix_(tops, rights)]
        - total[np.ix_(bottoms, lefts)]
        + total[np.ix_(tops, lefts)]
    )
    area = (bottoms - tops)[:, None] * (rights - lefts)[None, :]
    return (inside / area).astype(np.float32)


def _edges(
    count: int, side_px: int, step_px: int, mask_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """First and past-the-last mask pixel of each patch along one axis; at least one pixel."""
    start = np.arange(count) * side_px
    first = np.minimum(np.rint(start / step_px).astype(int), mask_length - 1)
    last = np.minimum(np.rint((start + side_px) / step_px).astype(int), mask_length)
    return first, np.maximum(last, first + 1)


def chosen_patches(grid: PatchGrid, fractions: np.ndarray) -> np.ndarray:
    """Which patches are read, bool (rows, columns): those with tissue on a fifth of them.

    A slide smaller than a patch is a tile that somebody cut on purpose: its one patch is read
    whatever lies on it.
    """
    return (fractions >= MIN_TISSUE_FRACTION) | grid.is_whole_slide


def encode_patches(
    slide: SlideSource,
    grid: PatchGrid,
    chosen: np.ndarray,
    encode: Callable[[np.ndarray], np.ndarray],
) -> Iterator[EncodedPatches]:
    """The chosen patches, block after block, read and encoded side by side in threads.

    Either may take the longer, by the slide's format and the encoder, so that a thread for each
    alone would leave one waiting. `encode` takes uint8 (n, side, side, 3) and is called from
    several threads at once.
    """

    def read_and_encode(members: np.ndarray) -> EncodedPatches:
        started = perf_counter()
        column, row = columns[members], rows[members]
        pixels = _read_piece(slide, grid, column, row)
        read_at = perf_counter()
        vectors = encode(pixels)
        return EncodedPatches(vectors, column, row, read_at - started, perf_counter() - read_at)

    rows, columns = np.nonzero(chosen)
    return ahead(read_and_encode, _pieces(grid, rows, columns))


def _pieces(grid: PatchGrid, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of the patches that are read at once: block after block, in the order of rows, then
    columns, so that a slide's own tiles are decoded once: the last are kept.

    A piece has as many patches as a block, and ever fewer towards the end, so that all readers come
    to it together (guided self-scheduling, Polychronopoulos and Kuck 1987).
    """
    block = (rows // grid.block) * grid.columns + columns // grid.block
    order = np.lexsort((columns, rows, block))
    while len(order):
        size = max(len(order) // (2 * READERS) // FEWEST, 1) * FEWEST
        piece, order = np.split(order, [min(size, grid.block**2)])
        yield piece


def _read_piece(
    slide: SlideSource, grid: PatchGrid, column: np.ndarray, row: np.ndarray
) -> np.ndarray:
    """The patches at these places, in the order of `_pieces`: uint8 (n, side, side, 3)."""
    is_first = np.ones(len(row), dtype=bool)  # of a run of neighbours, which are read together
    is_first[1:] = (np.diff(row) != 0) | (np.diff(column) != 1) | (column[1:] % grid.block == 0)
    starts = np.flatnonzero(is_first)
    stops = np.append(starts[1:], len(row))
    pixels = np.empty((len(row), grid.side_px, grid.side_px, 3), dtype=np.uint8)
    for start, stop in zip(starts, stops, strict=True):
        pixels[start:stop] = _read_run(
            slide, grid, int(column[start]), int(row[start]), stop - start
        )
    return pixels


def read_rectangle(slide: SlideSource, grid: PatchGrid, columns: slice, rows: slice) -> np.ndarray:
    """Patches that lie together as one image, uint8 (rows x side, columns x side, 3)."""
    count = columns.stop - columns.start
    strips = [
        _read_run(slide, grid, columns.start, row, count) for row in range(rows.start, rows.stop)
    ]
    patches = np.stack(strips)  # (rows, columns, side, side, 3)
    height, width = len(strips) * grid.side_px, count * grid.side_px
    return patches.swapaxes(1, 2).reshape(height, width, 3)


def _read_run(slide: SlideSource, grid: PatchGrid, column: int, row: int, count: int) -> np.ndarray:
    """`count` patches side by side, uint8 (count, side, side, 3)."""
    side = grid.side_level0_px
    left, top = column * side, row * side
    right, bottom = min(left + count * side, slide.width_px), min(top + side, slide.height_px)
    width = max(1, round((right - left) * grid.side_px / side))
    height = max(1, round((bottom - top) * grid.side_px / side))
    run = read_scaled(slide, grid.level, (left, top, right, bottom), (width, height))
    missing = (grid.side_px - height, count * grid.side_px - width)
    if any(missing):
        run = np.pad(run, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    return run.reshape(grid.side_px, count, grid.side_px, 3).swapaxes(0, 1)


def ahead(
    read: Callable[[Place], Read], places: Iterable[Place], threads: int = READERS
) -> Iterator[Read]:
    """`read` of each place, in their order, the next ones read in threads while one is used."""
    with ThreadPoolExecutor(max_workers=threads) as pool:
        reading: deque[Future[Read]] = deque()
        for place in places:
            reading.append(pool.submit(read, place))
            if len(reading) > threads:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()
