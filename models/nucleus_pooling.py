"""One vector a nucleus, from features of each pixel."""

from __future__ import annotations

import numpy as np

from tumorbase.models._nucleus_sums import sum_cells


def pool_under_nuclei(features: np.ndarray, labels: np.ndarray, cell_px: int = 1) -> np.ndarray:
    """Mean of the features under each nucleus, float32 (n, channels), in ascending order of label.

    Args:
        features: of cells of `cell_px` a side, finite float16 (h, w, channels); the last ones of a
            row or column may reach beyond the labels.
        labels: integers (H, W), 0 background; numbered about from 1 to n.
        cell_px: pixels.

    Raises:
        ValueError: the features are of another type, or cover another area than the labels.
    """
    if features.dtype != np.float16:
        raise ValueError(f"expected features in half precision, float16, got {features.dtype}")
    if features.shape[:2] != tuple(-(-side // cell_px) for side in labels.shape):
        raise ValueError(
            f"expected features of {labels.shape} pixels in cells of {cell_px}, got "
            f"{features.shape[:2]}"
        )
    halves = np.ascontiguousarray(features).view(np.uint16)
    stop = int(labels.max(initial=0)) + 1
    sums, counts = sum_cells(halves, np.ascontiguousarray(labels, dtype=np.int32), cell_px, stop)
    nuclei = np.flatnonzero(counts)
    return sums[nuclei] / counts[nuclei, None].astype(np.float32)
