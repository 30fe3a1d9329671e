"""Linear resampling: of volumes to another spacing, and of images to another size."""

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
    return interpolate(volume, axis, at)


def interpolate(array: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    """Linear interpolation at fractional indices of one axis; beyond its ends, the outermost value.

    Args:
        array: float, of any shape.
        axis: the one that is interpolated along, and has as many entries as `at` afterwards.
        at: float (count,).
    """
    last = array.shape[axis] - 1
    at = np.clip(at, 0, last)
    below = np.floor(at).astype(np.intp)
    shape = [1] * array.ndim
    shape[axis] = len(at)
    weight = (at - below).reshape(shape)
    low = np.take(array, below, axis=axis)
    high = np.take(array, np.minimum(below + 1, last), axis=axis)
    high -= low
    high *= weight
    high += low
    return high


def resized_pixels(image: np.ndarray, axis: int, scale: float, index: np.ndarray) -> np.ndarray:
    """Pixels `index` of one axis of the image resized by `scale`, beyond its ends the outermost.

    The image's outer edges stay in place, and nothing is smoothed first: OpenCV's INTER_LINEAR, of
    which this computes only the pixels asked for.

    Args:
        image: float, of any shape.
        axis: the one that is resized, and has as many entries as `index` afterwards.
        scale: new pixels for one old one.
        index: whole numbers (count,), of the resized image.
    """
    return interpolate(image, axis, before_resizing(index, image.shape[axis], scale))


def before_resizing(index: np.ndarray, length: int, scale: float) -> np.ndarray:
    """Where pixels of a resized axis lay on the axis of `length` before, float (count,)."""
    resized_px = max(1, round(length * scale))
    at: np.ndarray = (np.clip(index, 0, resized_px - 1) + 0.5) / scale - 0.5
    return at
