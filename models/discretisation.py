"""Grey levels of a region's intensities, as IBSI discretises them (manual, section 2.7)."""

from __future__ import annotations

import numpy as np


def fixed_bin_size(intensities: np.ndarray, size: float, lowest: float) -> np.ndarray:
    """Levels 1, 2, ... in bins of `size` from `lowest`, int32; what lies below is level 1.

    For calibrated intensities such as HU, so that one level means the same in every lesion.
    """
    levels = np.floor((intensities.astype(np.float64) - lowest) / size) + 1
    return np.maximum(levels, 1).astype(np.int32)


def fixed_bin_number(intensities: np.ndarray, bins: int) -> np.ndarray:
    """Levels 1 .. `bins` over the region's own range, int32; constant intensities are level 1.

    For intensities in arbitrary units, such as MR.
    """
    values = intensities.astype(np.float64)
    low, high = values.min(), values.max()
    if high == low:
        return np.ones(values.shape, dtype=np.int32)
    levels = np.floor(bins * (values - low) / (high - low)) + 1
    return np.minimum(levels, bins).astype(np.int32)
