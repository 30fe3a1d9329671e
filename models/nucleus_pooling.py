"""One vector a nucleus, from features of each pixel."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array


def pool_under_nuclei(features: np.ndarray, labels: np.ndarray, cell_px: int = 1) -> np.ndarray:
    """Mean of the features under each nucleus, float32 (n, channels), in ascending order of label.

    Args:
        features: of cells of `cell_px` a side, (h, w, channels); the last ones of a row or column
            may reach beyond the labels.
        labels: integers (H, W), 0 background.
        cell_px: pixels.

    Raises:
        ValueError: the features cover another area than the labels.
    """
    height, width, channels = features.shape
    if (height, width) != tuple(-(-side // cell_px) for side in labels.shape):
        raise ValueError(
            f"expected features of {labels.shape} pixels in cells of {cell_px}, got "
            f"{features.shape[:2]}"
        )
    y, x = np.nonzero(labels)
    cell = y // cell_px * width + x // cell_px
    is_used = np.zeros(height * width, dtype=bool)
    is_used[cell] = True
    used = features.reshape(-1, channels)[is_used].astype(np.float32)  # (cells, channels)
    ids, nucleus, area_px = np.unique(labels[y, x], return_inverse=True, return_counts=True)
    weight = (1.0 / area_px[nucleus]).astype(np.float32)
    place = (np.cumsum(is_used) - 1)[cell]
    belongs = csr_array((weight, (nucleus, place)), shape=(len(ids), len(used)))
    return belongs @ used
