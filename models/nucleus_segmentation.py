"""Nuclei of a stained tile by classical means: stain, threshold, distance, watershed."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from skimage.color import hed_from_rgb
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

BLUR_UM = 0.35  # standard deviation; chromatin is no edge
LOCAL_SHARE = 0.5  # of the neighbourhood's mean in the threshold, the rest is the tile's
NEIGHBOURHOOD_UM = 24.0
OTSU_SHARE = 0.8  # Otsu's threshold lies inside pale nuclei
MIN_STAIN = 0.35  # haematoxylin below which nothing is a nucleus, optical density
MAX_STAIN = 1.5  # above it is ink or dirt, which would else rule the threshold
MIN_CONTRAST = 0.15  # between nuclei and the rest, optical density
OPENING_UM = 1.0  # radius; what is thinner is no nucleus
SEED_BLUR_UM = 0.75
SEED_DISTANCE_UM = 3.0  # no two nuclei have their centres closer
MIN_AREA_UM2 = 8.0
MAX_HOLE_UM2 = 30.0

# Natural optical density of each 8-bit value; 0 counts as 1.
_OPTICAL_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255.0)


def segment_nuclei(rgb: np.ndarray, mpp: float) -> np.ndarray:
    """Nuclei of a tile stained with haematoxylin, with or without eosin.

    Haematoxylin by colour deconvolution (Ruifrok & Johnston 2001); a threshold between Otsu's
    (1979) and the neighbourhood's mean; touching nuclei parted by the watershed from the maxima of
    the distance to background. All sizes are in micrometres.

    Args:
        rgb: uint8 (H, W, 3).
        mpp: micrometres per pixel.

    Returns:
        int32 (H, W): 0 background, the nuclei 1..n. All 0 where nothing stands out.

    Raises:
        ValueError: `rgb` is no 8-bit colour image, or `mpp` not a positive number.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"rgb must be uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
    if not (math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"mpp must be a positive number of micrometres per pixel, got {mpp}")
    if rgb.size == 0:
        return np.zeros(rgb.shape[:2], dtype=np.int32)
    stain = ndimage.gaussian_filter(_haematoxylin(rgb), BLUR_UM / mpp)
    mask = _clean(stain > _threshold(stain, mpp), mpp)
    if not _stands_out(stain, mask):
        return np.zeros(rgb.shape[:2], dtype=np.int32)
    return _drop_specks(_part(mask, mpp), mpp)


def _haematoxylin(rgb: np.ndarray) -> np.ndarray:
    """Optical density of haematoxylin, float32 (H, W) in [0, MAX_STAIN]."""
    density = sum(
        (_OPTICAL_DENSITY * weight).astype(np.float32)[rgb[..., channel]]
        for channel, weight in enumerate(hed_from_rgb[:, 0])
    )
    return np.clip(density, 0.0, MAX_STAIN)


def _threshold(stain: np.ndarray, mpp: float) -> np.ndarray:
    """Stain above which a pixel is nucleus, (H, W)."""
    around = ndimage.uniform_filter(stain, _odd(NEIGHBOURHOOD_UM / mpp))
    whole = OTSU_SHARE * threshold_otsu(stain)
    return np.maximum((1.0 - LOCAL_SHARE) * whole + LOCAL_SHARE * around, MIN_STAIN)


def _stands_out(stain: np.ndarray, mask: np.ndarray) -> bool:
    """Whether there is a mask and it is darker than the rest."""
    if not mask.any() or mask.all():
        return False
    return bool(stain[mask].mean() - stain[~mask].mean() >= MIN_CONTRAST)


def _clean(mask: np.ndarray, mpp: float) -> np.ndarray:
    """The mask without small holes, threads and fringes."""
    holes, _ = ndimage.label(~mask)
    area = np.bincount(holes.ravel())
    filled = mask | (area <= MAX_HOLE_UM2 / mpp**2)[holes]
    return ndimage.binary_opening(filled, _disk(OPENING_UM / mpp))


def _part(mask: np.ndarray, mpp: float) -> np.ndarray:
    """Label map of the mask, one nucleus for each summit of the distance to background."""
    # Outside of the tile counts as neither: a nucleus cut by the border has its summit there.
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SEED_BLUR_UM / mpp)
    size = _odd(2.0 * SEED_DISTANCE_UM / mpp)
    is_summit = (ndimage.maximum_filter(depth, size) == depth) & mask
    seeds, _ = ndimage.label(is_summit, np.ones((3, 3)))
    return watershed(-depth, seeds, mask=mask)


def _drop_specks(labels: np.ndarray, mpp: float) -> np.ndarray:
    """The nuclei that are large enough, numbered 1..n, int32."""
    is_kept = np.bincount(labels.ravel()) >= MIN_AREA_UM2 / mpp**2
    is_kept[0] = False
    return np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)[labels]


def _disk(radius_px: float) -> np.ndarray:
    reach = math.floor(radius_px)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return x**2 + y**2 <= radius_px**2


def _odd(size_px: float) -> int:
    """The odd number of pixels nearest to a size."""
    return 2 * round((size_px - 1) / 2) + 1 if size_px > 1 else 1
