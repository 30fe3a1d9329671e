"""The four sub-volumes of a CT that SMuRF sees of a tumour or a lymph node.

Source: the code of Song et al. 2025, iridyne/SMuRF_MultiModal@2a76854 (a copy), smurf/datasets.py.
"""

from __future__ import annotations

import numpy as np

RING_MM = 15.0  # published as 15 voxels
WINDOW_HU = (-150.0, 250.0)  # soft tissue: width 400, level 50
SUB_VOLUMES = 4
CROP = (3, 128, 128)  # slices, rows, columns
SEED = 2031


def region_sub_volumes(
    volume_hu: np.ndarray,
    mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    seed: int = SEED,
) -> np.ndarray:
    """Crops of the CT around a region, one from each quarter of its depth, values in [0, 1].

    The region's box grows by `RING_MM` on all sides, as far as the volume reaches. The centre of
    each crop is drawn from the box: in plane from where the crop stays in the box if that is the
    larger one, and from anywhere if it is not. Voxels are taken as they are, of any spacing; beyond
    the volume there is air, which is 0.

    Args:
        volume_hu: CT in HU, (z, y, x).
        mask: nonzero in the tumour, or in all lymph nodes, of the same shape.
        spacing_mm: of the voxels, (z, y, x).
        seed: of the centres. Published is the same one for all patients; another one in each epoch
            shows a network in training other parts.

    Returns:
        float32 (4, 3, 128, 128), from the first slice on.

    Raises:
        ValueError: the mask is empty, as where there is no lymph node, or of another shape; the
            volume is not finite; or the spacing is not positive.
    """
    _check(volume_hu, mask, spacing_mm)
    low, high = _grown_box(mask, spacing_mm)
    centres = _centres(low, high, volume_hu.shape[0], seed)
    return np.stack([_crop(volume_hu, centre) for centre in centres])


def _grown_box(
    mask: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """First and last index of the box within the volume, int64 (3,) each."""
    inside = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    ring = np.round(RING_MM / np.array(spacing_mm)).astype(np.int64)
    low = np.array([indices[0] for indices in inside]) - ring
    high = np.array([indices[-1] for indices in inside]) + ring
    return np.maximum(low, 0), np.minimum(high, np.array(mask.shape) - 1)


def _centres(low: np.ndarray, high: np.ndarray, depth: int, seed: int) -> np.ndarray:
    """Voxels in the middle of the crops, int64 (4, 3)."""
    random = np.random.default_rng(seed)
    in_plane = []
    for axis in (1, 2):
        half = CROP[axis] // 2
        is_larger = high[axis] - low[axis] > 2 * half
        margin = half if is_larger else 0
        first, last = low[axis] + margin, high[axis] - margin
        in_plane.append(random.integers(first, last, SUB_VOLUMES, endpoint=True))
    # A slice on either side, wherever the volume has them.
    ends = (1, depth - 2) if depth >= CROP[0] else (0, depth - 1)
    first, last = np.clip((low[0], high[0]), *ends)
    quarters = first + np.arange(SUB_VOLUMES + 1) * (last - first) // SUB_VOLUMES
    slices = random.integers(quarters[:-1], quarters[1:], endpoint=True)
    return np.stack([slices, *in_plane], axis=1)


def _crop(volume_hu: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The windowed voxels around one, float32 `CROP`."""
    start = centre - np.array(CROP) // 2
    first, end = np.maximum(start, 0), np.minimum(start + CROP, volume_hu.shape)
    low, high = WINDOW_HU
    crop = np.zeros(CROP, dtype=np.float32)
    voxels = volume_hu[tuple(slice(*ends) for ends in zip(first, end, strict=True))]
    place = tuple(slice(*ends) for ends in zip(first - start, end - start, strict=True))
    crop[place] = (voxels.clip(low, high) - low) / (high - low)
    return crop


def _check(volume_hu: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    if volume_hu.ndim != 3 or volume_hu.shape != mask.shape:
        raise ValueError(
            "expected a volume (z, y, x) and a mask of its shape, "
            f"got {volume_hu.shape} and {mask.shape}"
        )
    if not mask.any():
        raise ValueError("expected a mask with at least one voxel, got an empty one")
    if not np.isfinite(volume_hu).all():
        raise ValueError("expected finite HU, got NaN or infinity")
    if not min(spacing_mm) > 0:
        raise ValueError(f"spacing must be positive, got {spacing_mm} mm")
