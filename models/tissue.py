"""Where a slide has tissue: stained, or glowing on a dark ground, and not written by a pen."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

# Bright field. The density of colour is the optical density times its chroma (see `_colour`): zero
# for glass, shadow, dust and black ink, however dark. Otsu's threshold is kept inside these bounds:
# below them lies the noise of an empty slide, above them tissue would be split into pale and dark.
MIN_COLOUR_DENSITY = 0.02
MAX_COLOUR_DENSITY = 0.06
# Ink, by the hue of the optical density in degrees and its chroma. Haematoxylin lies at 50 to 75,
# eosin and blood at 110 to 170, DAB at 190 to 215; the inks are purer than any of them.
BLUE_INK_HUE = (5.0, 45.0)
BLUE_INK_CHROMA = 0.45
GREEN_INK_HUE = (-130.0, 5.0)
GREEN_INK_CHROMA = 0.3
RED_INK_HUE = (167.0, 190.0)
RED_INK_CHROMA = 0.7
INK_DENSITY = 0.15
RED_INK_DENSITY = 0.35
INK_RIM_UM = 25.0  # a stroke's rim, where ink and glass mix
MAX_INK_SHARE = 0.2  # what covers more of a slide is a stain, such as a trichrome's blue or green
# Dark field.
MAX_DARK_LEVEL = 64  # the median of a dark ground lies below, of any bright field above
MAX_WHITE_SHARE = 0.01  # a bright field with black borders has white glass all the same
MIN_GLOW = 8.0  # above the ground, in grey levels
# Cleaning.
SMOOTHING_UM = 8.0
OPENING_UM = 8.0
CLOSING_UM = 32.0
MIN_TISSUE_UM2 = 10_000.0
MAX_HOLE_UM2 = 40_000.0
MIN_TISSUE_SHARE = 0.01  # of a tile too small for the areas above


def find_tissue(rgb: np.ndarray, mpp: float, is_dark: bool) -> np.ndarray:
    """Where there is tissue: bool (H, W), all False on an empty slide.

    Stained tissue on white is told by the hue-saturation-density model (van der Laak et al. 2000,
    Cytometry 39:275), in which stains and inks differ by hue whatever their amount, and by Otsu's
    threshold (1979) on the density of colour; tissue that glows on a dark ground by Otsu's
    threshold on brightness. Pen strokes (blue, green, red, black) do not count. Holes are closed.

    Args:
        rgb: uint8 (H, W, 3), an overview or a tile.
        mpp: its micrometres per pixel.
        is_dark: what `is_dark_field` says of it.

    Raises:
        ValueError: another shape or type, or an mpp that is not a positive number.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb must be uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
    if not (math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"mpp must be a positive number of micrometres per pixel, got {mpp}")
    sigma = SMOOTHING_UM / mpp / 2.0
    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (sigma, sigma, 0), truncate=3.0)
    if is_dark:
        return _clean(_glow(smooth), mpp)
    density, chroma, hue = _colour(smooth)
    ink = _ink(density, chroma, hue)
    if ink.mean() > MAX_INK_SHARE:
        ink[:] = False
    ink = _dilate(ink, INK_RIM_UM / mpp)
    coloured = density * chroma
    return _clean((coloured > _colour_threshold(coloured[~ink])) & ~ink, mpp) & ~ink


def is_dark_field(rgb: np.ndarray) -> bool:
    """Whether an image, uint8 (H, W, 3), is of light on a dark ground, as fluorescence is."""
    brightest = rgb.max(axis=2)
    white_share = (rgb.min(axis=2) > 200).mean()
    return bool(np.median(brightest) < MAX_DARK_LEVEL and white_share < MAX_WHITE_SHARE)


def _glow(smooth: np.ndarray) -> np.ndarray:
    """Bright parts of a dark field, bool (H, W). Otsu's threshold is of the logarithm, since a few
    bright spots would otherwise leave all else to the ground.
    """
    brightness = smooth.max(axis=2)
    ground = np.percentile(brightness, 1.0)
    glow = np.log1p(brightness - brightness.min())
    floor = float(np.log1p(ground - brightness.min() + MIN_GLOW))
    if glow.max() <= floor:
        return np.zeros(glow.shape, dtype=bool)
    return glow > max(floor, min(float(threshold_otsu(glow)), math.log1p(4 * MIN_GLOW)))


def _colour(smooth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Density, chroma and hue (degrees) of float32 (H, W, 3) in 0 to 255, each float32 (H, W).

    The hue of pure absorption in red is 0, in green 120 and in blue -120 (240).
    """
    optical = np.maximum(-np.log10((smooth + 1.0) / (_white(smooth) + 1.0)), 0.0)
    density = optical.mean(axis=2)
    safe = np.maximum(density, 1e-6)
    x = optical[..., 0] / safe - 1.0
    y = (optical[..., 1] - optical[..., 2]) / (math.sqrt(3.0) * safe)
    return density, np.hypot(x, y), np.degrees(np.arctan2(y, x))


def _white(smooth: np.ndarray) -> np.ndarray:
    """The colour of glass, (3,): that of the brightest hundredth, if it is bright and grey."""
    glass = np.percentile(smooth.reshape(-1, 3), 99.0, axis=0)
    is_glass = glass.min() > 200 and np.ptp(glass) < 25
    return glass if is_glass else np.full(3, 245.0)


def _colour_threshold(coloured: np.ndarray) -> float:
    if coloured.size == 0 or np.ptp(coloured) == 0:
        return MIN_COLOUR_DENSITY
    return float(np.clip(threshold_otsu(coloured), MIN_COLOUR_DENSITY, MAX_COLOUR_DENSITY))


def _ink(density: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """What is of an ink's colour, bool (H, W). Black ink has no chroma and is never coloured."""
    full_hue = np.where(hue < -150.0, hue + 360.0, hue)
    blue = _between(full_hue, BLUE_INK_HUE) & (chroma > BLUE_INK_CHROMA) & (density > INK_DENSITY)
    green = (
        _between(full_hue, GREEN_INK_HUE) & (chroma > GREEN_INK_CHROMA) & (density > INK_DENSITY)
    )
    red = _between(full_hue, RED_INK_HUE) & (chroma > RED_INK_CHROMA) & (density > RED_INK_DENSITY)
    return blue | green | red


def _between(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (values >= limits[0]) & (values < limits[1])


def _clean(mask: np.ndarray, mpp: float) -> np.ndarray:
    """The mask without specks and threads, its gaps closed and its holes filled."""
    mask = _dilate(_erode(mask, OPENING_UM / mpp / 2.0), OPENING_UM / mpp / 2.0)
    mask = _erode(_dilate(mask, CLOSING_UM / mpp / 2.0), CLOSING_UM / mpp / 2.0)
    smallest = min(MIN_TISSUE_UM2 / mpp**2, MIN_TISSUE_SHARE * mask.size)
    mask = _without_small(mask, smallest)
    return ~_without_small(~mask, min(MAX_HOLE_UM2 / mpp**2, MIN_TISSUE_SHARE * mask.size))


def _without_small(mask: np.ndarray, smallest_px: float) -> np.ndarray:
    """The mask's connected pieces of at least so many pixels."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    is_large = np.bincount(pieces.ravel()) >= smallest_px
    is_large[0] = False
    return is_large[pieces]


def _dilate(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Everything within `radius_px` of the mask."""
    if radius_px < 1.0 or not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask) <= radius_px


def _erode(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """What lies deeper than `radius_px` in the mask; the image's border does not erode."""
    if radius_px < 1.0 or mask.all():
        return mask
    return ndimage.distance_transform_edt(mask) > radius_px
