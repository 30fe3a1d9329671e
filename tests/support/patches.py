"""Real patches to try networks on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide


def real_patches(shared: Path, count: int, side: int = 256) -> np.ndarray:
    """Patches side by side on the tissue of CMU-1, uint8 (count, side, side, 3)."""
    path = shared / "data/pathology/wsi/cmu-1-small-region.svs"
    with openslide.OpenSlide(path) as slide:
        places = [(800 + side * i, 1200) for i in range(count)]
        images = [slide.read_region(place, 0, (side, side)).convert("RGB") for place in places]
    return np.stack([np.asarray(image) for image in images])
