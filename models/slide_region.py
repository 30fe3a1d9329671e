"""A region of a slide, as encoders of whole slides take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PATCH_PX = 256
PATCHES_A_SIDE = 16
MPP = 0.5


@dataclass(frozen=True)
class SlideRegion:
    """Up to 16 x 16 patches of 256 px that lie together at 0.5 um a pixel.

    `pixels` are RGB, uint8 (H, W, 3). `tissue_patches` counts the patches that show tissue: so much
    the region weighs in its slide.
    """

    pixels: np.ndarray
    tissue_patches: int
