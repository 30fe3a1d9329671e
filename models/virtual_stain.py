"""Light on a dark ground as stain on white, so that what is made for stained tissue can read it."""

from __future__ import annotations

import numpy as np

HAEMATOXYLIN = (0.65, 0.70, 0.29)  # Ruifrok & Johnston 2001, table 1
MAX_DENSITY = 1.2  # decadic optical density of the brightest light
BRIGHT_QUANTILE = 0.999  # brighter spots saturate
MIN_RANGE = 24.0  # grey levels; a darker image keeps its faint noise pale


def as_haematoxylin(rgb: np.ndarray) -> np.ndarray:
    """Fluorescence as haematoxylin on white (after Giacomelli et al. 2016, PLoS ONE 11:e0159337):
    light that falls off exponentially with the signal.

    Args:
        rgb: uint8 (H, W, 3); the brightest channel of a pixel is its signal.

    Returns:
        uint8 (H, W, 3).
    """
    signal = rgb.max(axis=2).astype(np.float32)
    if signal.size == 0:
        return rgb.copy()
    ground = np.median(signal)
    bright = max(float(np.quantile(signal, BRIGHT_QUANTILE)) - ground, MIN_RANGE)
    density = np.clip((signal - ground) / bright, 0.0, 1.0) * MAX_DENSITY
    absorbed = density[..., None] * np.array(HAEMATOXYLIN, dtype=np.float32)
    return np.rint(255.0 * 10.0**-absorbed).astype(np.uint8)
