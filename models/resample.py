"""Linear resampling of a volume to another spacing, on a grid centred on the old one."""

from __future__ import annotations

import numpy as np


def resample(volume: np.ndarray, spacing_mm: np.ndarray, new_spacing_mm: np.ndarray) -> np.ndarray:
    """`volume` (z, y, x) at another spacing (z, y, x), float64, interpolated linearly.

    The grids share their centre, and each axis gets ceil(length / new spacing) voxels (IBSI
    reference manual, section 2.4, "align grid centers"). Beyond the outermost voxel centres the
    outermost value is taken. A mask is resampled as numbers and kept where the result is >= 0.5.
    """
    resampled = volume.astype(np.float64)
    for axis in range(volume.ndim):
        old, new = float(spacing_mm[axis]), float(new_spacing_mm[axis])
        if old != new:
            resampled = _resample_axis(resampled, axis, old, new)
    return resampled


def _resample_axis(volume: np.ndarray, axis: int, old_mm: float, new_mm: float) -> np.ndarray:
    """Linear interpolation along one axis."""
    length = volume.shape[axis]
    # Rounded first: 10 voxels of 0.3 mm are 3 of 1 mm and not 4.
    new_length = int(np.ceil(round(length * old_mm / new_mm, 6)))
    at = (np.arange(new_length) - (new_length - 1) / 2) * (new_mm / old_mm) + (length - 1) / 2
    at = np.clip(at, 0, length - 1)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, length - 1)
    shape = [1] * volume.ndim
    shape[axis] = new_length
    weight = (at - below).reshape(shape)
    low = np.take(volume, below, axis=axis)
    high = np.take(volume, above, axis=axis)
    high -= low
    high *= weight
    high += low
    return high
