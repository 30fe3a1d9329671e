"""An axial CT slice as the body-part regressor sees it."""

from __future__ import annotations

import numpy as np

from tumorbase.models.resample import resized_pixels

SIDE_PX = 128
SOFT_TISSUE_HU = (-175.0, 275.0)
GREY_LEVELS = 255.0
MEAN_GREY = 50.0
SLICE_PREPROCESSING = {"side_px": SIDE_PX, "window_hu": SOFT_TISSUE_HU, "mean_grey": MEAN_GREY}


def body_part_slice(slice_hu: np.ndarray) -> np.ndarray:
    """The slice in the soft-tissue window, grey levels 0 to 255 less 50, float32 (3, 128, 128).

    All three channels are the same. Resized without smoothing first, as
    rsummers11/CADLab@e6963e8:body_part_regressor/bodypartregressor/load_img.py does; a slice that
    is not square is stretched, as its `nifti_inference.py` does.

    Args:
        slice_hu: float (y, x), rows towards the back and columns towards the patient's left.

    Raises:
        ValueError: it is not two-dimensional, or empty.
    """
    if slice_hu.ndim != 2 or slice_hu.size == 0:
        raise ValueError(f"expected a slice (y, x), got shape {slice_hu.shape}")
    low, high = SOFT_TISSUE_HU
    grey = np.clip((slice_hu.astype(np.float64) - low) / (high - low), 0.0, 1.0) * GREY_LEVELS
    for axis, length in enumerate(slice_hu.shape):
        grey = resized_pixels(grey, axis, SIDE_PX / length, np.arange(SIDE_PX))
    return np.broadcast_to((grey - MEAN_GREY).astype(np.float32), (3, SIDE_PX, SIDE_PX))
