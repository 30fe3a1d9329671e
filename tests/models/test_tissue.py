"""Tissue is found on real slides, and neither ink nor glass nor dark ground is taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openslide import OpenSlide
from PIL import Image, ImageDraw, ImageFilter

from tumorbase.models.tissue import find_tissue, is_dark_field

MPP = 4.0
INKS = {
    "blue": (30, 60, 180),
    "light blue": (60, 110, 200),
    "green": (40, 140, 80),
    "dark green": (20, 120, 60),
    "black": (25, 25, 30),
    "red": (200, 30, 40),
    "light red": (215, 50, 60),
}


def _overview(path: Path) -> np.ndarray:
    """The slide at 4 um a pixel."""
    with OpenSlide(path) as slide:
        step = MPP / float(slide.properties["openslide.mpp-x"])
        size = tuple(round(side / step) for side in slide.dimensions)
        return np.asarray(slide.get_thumbnail(size).convert("RGB"))


@pytest.fixture(scope="module")
def stained(shared: Path) -> np.ndarray:
    """Skin on white, haematoxylin and eosin."""
    return _overview(shared / "data/pathology/wsi/cmu-1-small-region.svs")


@pytest.fixture(scope="module")
def fluorescent(shared: Path) -> np.ndarray:
    """Faint tissue with bright spots on black."""
    return _overview(shared / "data/pathology/wsi/test3-TRITC-2-560.ndpi")


def test_stained_tissue_is_found_and_glass_is_not(stained: np.ndarray) -> None:
    assert not is_dark_field(stained)
    mask = find_tissue(stained, MPP, is_dark=False)
    assert 0.28 < mask.mean() < 0.36
    dark = stained.min(axis=2) < 170
    assert (mask & dark).sum() > 0.9 * dark.sum()
    assert not mask[200:350, :40].any()  # glass


def test_glowing_tissue_is_found_on_a_dark_ground(fluorescent: np.ndarray) -> None:
    assert is_dark_field(fluorescent)
    mask = find_tissue(fluorescent, MPP, is_dark=True)
    assert 0.7 < mask.mean() < 0.9
    assert not mask[:30, :30].any()
    assert fluorescent.max(axis=2)[mask].mean() > 4 * fluorescent.max(axis=2)[~mask].mean()


@pytest.mark.parametrize("ink", INKS)
def test_pen_strokes_are_not_tissue(stained: np.ndarray, ink: str) -> None:
    strokes = Image.new("L", stained.shape[1::-1])
    draw = ImageDraw.Draw(strokes)
    draw.line([(20, 10), (20, 340)], fill=255, width=7)
    draw.ellipse([195, 40, 265, 130], outline=255, width=6)
    drawn = Image.composite(
        Image.new("RGB", strokes.size, INKS[ink]), Image.fromarray(stained), strokes
    )
    pen = np.asarray(drawn.filter(ImageFilter.GaussianBlur(0.8)))
    mask, unmarked = (find_tissue(rgb, MPP, is_dark=False) for rgb in (pen, stained))
    is_stroke = np.asarray(strokes) > 0
    assert (mask & is_stroke & ~unmarked).sum() < 0.02 * is_stroke.sum()
    assert (mask & unmarked).sum() > 0.95 * (unmarked & ~is_stroke).sum()


@pytest.mark.parametrize("tile", ["histo.jpg", "high-nuclei-score-level0.png", "target_image.png"])
def test_a_tile_full_of_tissue_is_tissue(shared: Path, tile: str) -> None:
    rgb = np.asarray(Image.open(shared / "data/pathology/tiles" / tile).convert("RGB"))
    assert find_tissue(rgb, 0.5, is_dark_field(rgb)).mean() > 0.9


@pytest.mark.parametrize("level", [0, 12, 128, 240, 255])
def test_an_empty_slide_has_no_tissue(level: int) -> None:
    noise = np.random.default_rng(0).normal(level, 2.0, (200, 300, 3))
    rgb = np.clip(noise, 0, 255).astype(np.uint8)
    assert not find_tissue(rgb, 8.0, is_dark_field(rgb)).any()


def test_a_stain_of_ink_colour_over_much_of_the_slide_is_tissue() -> None:
    rgb = np.full((200, 200, 3), 245, dtype=np.uint8)
    rgb[40:160, 40:160] = (40, 140, 80)  # as of a trichrome
    assert find_tissue(rgb, 8.0, is_dark=False)[60:140, 60:140].all()


def test_specks_are_dropped_and_holes_closed() -> None:
    rgb = np.full((200, 200, 3), 245, dtype=np.uint8)
    rgb[40:160, 40:160] = (200, 120, 170)
    rgb[95:105, 95:105] = 245
    rgb[10:13, 10:13] = (200, 120, 170)
    mask = find_tissue(rgb, 8.0, is_dark=False)
    assert mask[100, 100]
    assert not mask[:30, :30].any()


@pytest.mark.parametrize(
    ("rgb", "mpp", "message"),
    [
        (np.zeros((4, 4), np.uint8), 1.0, "uint8"),
        (np.zeros((4, 4, 3), np.float32), 1.0, "uint8"),
        (np.zeros((4, 4, 3), np.uint8), 0.0, "positive"),
        (np.zeros((4, 4, 3), np.uint8), float("nan"), "positive"),
    ],
)
def test_what_is_no_overview_is_refused(rgb: np.ndarray, mpp: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_tissue(rgb, mpp, is_dark=False)
