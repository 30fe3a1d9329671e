"""Where a slide has tissue, on an overview whose size does not grow with the slide's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumorbase.ingest.slide_source import SlideSource, overview, overview_step
from tumorbase.models.tissue import find_tissue, is_dark_field

OVERVIEW_MPP = 8.0
MIN_OVERVIEW_PX = 256  # a tile is looked at more finely, so that its overview has about this side
MAX_OVERVIEW_PX = 4096  # and a large slide more coarsely


@dataclass(frozen=True)
class Tissue:
    """Where a slide has tissue: bool (H, W), a pixel for every `step_px` level-0 pixels."""

    mask: np.ndarray
    step_px: int
    is_dark_field: bool

    def holds(self, x_level0_px: np.ndarray, y_level0_px: np.ndarray) -> np.ndarray:
        """Whether there is tissue at each point of the slide, bool (n,)."""
        row = np.clip((y_level0_px // self.step_px).astype(int), 0, self.mask.shape[0] - 1)
        column = np.clip((x_level0_px // self.step_px).astype(int), 0, self.mask.shape[1] - 1)
        return self.mask[row, column]

    def area_mm2(self, slide_mpp: float) -> float:
        """Area of the tissue."""
        return float(self.mask.sum()) * (self.step_px * slide_mpp / 1000.0) ** 2


def look_for_tissue(slide: SlideSource) -> Tissue:
    """The slide's tissue, on an overview of about 8 um a pixel."""
    extent_um = max(slide.width_px, slide.height_px) * slide.mpp
    wanted = min(OVERVIEW_MPP, extent_um / MIN_OVERVIEW_PX)
    wanted = max(wanted, extent_um / MAX_OVERVIEW_PX)
    step = overview_step(slide, wanted)
    rgb = overview(slide, wanted)
    is_dark = is_dark_field(rgb)
    return Tissue(find_tissue(rgb, step * slide.mpp, is_dark), step, is_dark)
