"""One vector a nucleus, from features of each pixel."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array


def pool_under_nuclei(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of the features under each nucleus, float32 (n, channels), in ascending order of label.

    Args:
        features: (H, W, channels).
        labels: integers (H, W), 0 background.

    Raises:
        ValueError: the two differ in height or width.
    """
    if features.shape[:2] != labels.shape:
        raise ValueError(f"expected features of {labels.shape} pixels, got {features.shape[:2]}")
    is_nucleus = labels != 0
    pixels = features[is_nucleus].astype(np.float32)  # (pixels, channels)
    ids, nucleus, area_px = np.unique(labels[is_nucleus], return_inverse=True, return_counts=True)
    weight = (1.0 / area_px[nucleus]).astype(np.float32)
    belongs = csr_array((weight, nucleus, np.arange(len(pixels) + 1)), (len(pixels), len(ids)))
    return belongs.T @ pixels
