"""One vector a nucleus, from features of each pixel."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array


def pool_under_nuclei(features: np.ndarray, labels: np.ndarray, cell_px: int = 1) -> np.ndarray:
    """Mean of the features under each nucleus, float32 (n, channels), in ascending order of label.

    Args:
        features: of cells of `cell_px` a side, (h, w, channels); the last ones of a row or column
            may reach beyond the labels.
        labels: integers (H, W), 0 background; numbered about from 1 to n.
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
    nucleus, has_label = _ranks(labels[y, x], labels.max(initial=0) + 1)
    place, is_used = _ranks(y // cell_px * width + x // cell_px, height * width)
    used = features.reshape(-1, channels)[is_used].astype(np.float32)  # (cells, channels)
    weight = (1.0 / np.bincount(nucleus)).astype(np.float32)[nucleus]
    belongs = csr_array((weight, (nucleus, place)), shape=(has_label.sum(), len(used)))
    return belongs @ used


def _ranks(numbers: np.ndarray, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each number among those there are, and which there are of 0 to `stop` - 1."""
    is_there = np.zeros(stop, dtype=bool)
    is_there[numbers] = True
    return (np.cumsum(is_there) - 1)[numbers], is_there
