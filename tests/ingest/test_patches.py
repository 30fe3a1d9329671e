"""Patches lie where the grid says, at the mpp asked for, and none is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from tumorbase.ingest.patches import (
    READERS,
    EncodedPatches,
    PatchGrid,
    ahead,
    chosen_patches,
    encode_patches,
    patch_grid,
    read_rectangle,
    tissue_fractions,
)
from tumorbase.models.patch_geometry import PatchGeometry


class Checker:
    """A slide whose pixels tell their place: red is x // 64, green is y // 64."""

    path, vendor = "checker", "made"

    def __init__(
        self, width: int, height: int, mpp: float, downsamples: tuple[float, ...] = (1.0,)
    ):
        self.width_px, self.height_px, self.mpp, self.downsamples = width, height, mpp, downsamples
        self.largest_read_px = 0

    def read(self, x_level0_px, y_level0_px, level, width, height) -> np.ndarray:
        self.largest_read_px = max(self.largest_read_px, width * height)
        y, x = np.indices((height, width)) * self.downsamples[level]
        x, y = (x + x_level0_px) // 64, (y + y_level0_px) // 64
        return np.stack([x, y, x * 0], axis=-1).astype(np.uint8)


def read_patches(slide: Checker, grid: PatchGrid, chosen: np.ndarray) -> Iterator[EncodedPatches]:
    """The pixels take the place of vectors."""
    return encode_patches(slide, grid, chosen, lambda pixels: pixels)


@pytest.mark.parametrize(
    ("slide_mpp", "side_level0", "mpp"),
    [
        (0.499, 64, 0.499),  # within 5 %: as it is
        (0.25, 128, 0.5),
        (0.2282, 140, 0.4992),
        (1.0, 64, 1.0),  # never enlarged
        (0.1, 320, 0.5),
    ],
)
def test_patches_are_at_the_mpp_asked_for_but_never_enlarged(
    slide_mpp: float, side_level0: int, mpp: float
) -> None:
    grid = patch_grid(Checker(1000, 700, slide_mpp), PatchGeometry(0.5, 64))
    assert (grid.side_level0_px, grid.side_px) == (side_level0, 64)
    assert grid.mpp == pytest.approx(mpp, rel=1e-3)
    assert (grid.columns, grid.rows) == (1000 // side_level0, 700 // side_level0)


def test_patches_are_whole_pixels_of_a_level_of_about_their_mpp() -> None:
    grid = patch_grid(Checker(9000, 9000, 0.2425, (1.0, 2.0, 4.0001)), PatchGeometry(0.5, 256))
    assert (grid.side_level0_px, grid.level) == (512, 1)
    assert grid.mpp == pytest.approx(0.485)


@pytest.mark.parametrize("mpp", [0.5, 0.25])
def test_every_chosen_patch_comes_once_with_its_own_pixels(mpp: float) -> None:
    slide = Checker(64 * 40, 64 * 30, mpp, (1.0, 2.0))
    grid = patch_grid(slide, PatchGeometry(0.5, 64))
    chosen = np.random.default_rng(0).random((grid.rows, grid.columns)) < 0.4
    seen = np.zeros_like(chosen, dtype=int)
    per_patch = grid.side_level0_px // 64
    for patches in read_patches(slide, grid, chosen):
        assert patches.vectors.shape[1:] == (64, 64, 3)
        np.add.at(seen, (patches.row, patches.column), 1)
        np.testing.assert_array_equal(patches.vectors[:, 0, 0, 0], patches.column * per_patch)
        np.testing.assert_array_equal(patches.vectors[:, 0, 0, 1], patches.row * per_patch)
        last = (patches.column + 1) * per_patch - 1
        np.testing.assert_array_equal(patches.vectors[:, -1, -1, 0], last)
    np.testing.assert_array_equal(seen, chosen)


def test_no_read_grows_with_the_slide() -> None:
    largest = []
    for side in (32768, 65536):
        slide = Checker(side, side, 0.125, (1.0, 4.0))
        grid = patch_grid(slide, PatchGeometry(0.5, 256))
        chosen = np.zeros((grid.rows, grid.columns), dtype=bool)
        chosen[:1] = True
        counts = [len(patches.vectors) for patches in read_patches(slide, grid, chosen)]
        assert sum(counts) == grid.columns
        largest.append(slide.largest_read_px)
    assert largest[0] == largest[1] <= 2048 * 256


def test_pieces_grow_fewer_so_that_all_readers_come_to_the_end_together() -> None:
    slide = Checker(20 * 256, 12 * 256, 0.5)
    grid = patch_grid(slide, PatchGeometry(0.5, 256))
    chosen = np.ones((grid.rows, grid.columns), dtype=bool)
    counts = [len(patches.vectors) for patches in read_patches(slide, grid, chosen)]
    assert counts == [56, 40, 32, 24, 16, 16, 8, 8, 8, 8, 8, 8, 8]
    assert READERS == 2


def test_pieces_of_patches_as_large_as_a_block_have_one_each() -> None:
    slide = Checker(3 * 2048, 3 * 2048, 0.5)
    grid = patch_grid(slide, PatchGeometry(0.5, 2048))
    chosen = np.ones((grid.rows, grid.columns), dtype=bool)
    counts = [len(patches.vectors) for patches in read_patches(slide, grid, chosen)]
    assert counts == [1] * 9


def test_a_slide_smaller_than_a_patch_is_one_patch_with_its_mirror_image() -> None:
    slide = Checker(200, 130, 0.5)
    grid = patch_grid(slide, PatchGeometry(0.5, 256))
    fractions = tissue_fractions(grid, np.zeros((13, 20), dtype=bool), 10)
    chosen = chosen_patches(grid, fractions)
    (patches,) = read_patches(slide, grid, chosen)
    assert patches.vectors.shape == (1, 256, 256, 3)
    assert patches.vectors[0, 0, 199, 0] == patches.vectors[0, 0, 200, 0] == 3
    assert patches.vectors[0, 255, 0, 1] == 0  # mirrored back to the top


def test_patches_that_lie_together_are_read_as_one_image() -> None:
    slide = Checker(1000, 700, 0.5)
    image = read_rectangle(
        slide, patch_grid(slide, PatchGeometry(0.5, 64)), slice(2, 5), slice(1, 7)
    )
    expected = slide.read(2 * 64, 64, 0, 3 * 64, 6 * 64)
    np.testing.assert_array_equal(image, expected)


def test_tissue_fractions_are_shares_of_each_patch() -> None:
    grid = patch_grid(Checker(1024, 512, 0.5), PatchGeometry(0.5, 256))
    mask = np.zeros((32, 64), dtype=bool)  # 16 level-0 pixels a pixel
    mask[:16, :8] = True
    mask[16:, 48:] = True
    expected = [[0.5, 0, 0, 0], [0, 0, 0, 1.0]]
    np.testing.assert_allclose(tissue_fractions(grid, mask, 16), expected)
    np.testing.assert_array_equal(
        chosen_patches(grid, np.float32([[0.19, 0.2, 0.5, 0.0]] * 2)),
        [[False, True, True, False]] * 2,
    )


def test_the_next_place_is_read_while_one_is_used() -> None:
    is_read = threading.Event()

    def read(place: int) -> int:
        if place == 2:
            is_read.set()
        return 10 * place

    values = ahead(read, [1, 2, 3])
    assert next(values) == 10
    assert is_read.wait(timeout=10.0)
    assert list(values) == [20, 30]


def test_no_more_is_read_ahead_than_the_readers_take() -> None:
    taken = []

    def places():
        for place in range(100):
            taken.append(place)
            yield place

    values = ahead(lambda place: place, places())
    assert next(values) == 0
    assert len(taken) <= READERS + 1
    values.close()


def test_an_error_in_reading_ahead_reaches_the_user() -> None:
    def read(place: int) -> int:
        if place == 2:
            raise ValueError("damaged")
        return place

    with pytest.raises(ValueError, match="damaged"):
        list(ahead(read, [1, 2, 3]))
