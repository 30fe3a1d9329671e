"""The square patch of three CT slices that the DeepLesion networks see of a lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumorbase.models.lesion_crop import BOX_PADDING_PX, LesionInVolume
from tumorbase.models.resample import before_resizing, interpolate

SLICE_MM = 2.0
WINDOW_HU = (-1024.0, 3071.0)
GREY_LEVELS = 255.0
MEAN_GREY = 50.0  # subtracted, as from all images of the DeepLesion networks
PATCH_PX = 120
LARGEST_SLICE_PX = 800
PATCH_PREPROCESSING = {
    "slice_mm": SLICE_MM,
    "window_hu": WINDOW_HU,
    "mean_grey": MEAN_GREY,
    "patch_px": PATCH_PX,
    "largest_slice_px": LARGEST_SLICE_PX,
    "box_padding_px": BOX_PADDING_PX,
}


@dataclass(frozen=True)
class LesionPatch:
    """`image`, float32 (3, 120, 120), is (grey - 50) / 255 of the slices above, at and below.

    `box_px`, float32 (4,), is the lesion's (x1, y1, x2, y2) in it, of a large one beyond its sides.
    """

    image: np.ndarray
    box_px: np.ndarray


def deeplesion_patch(lesion: LesionInVolume, pixel_mm: float) -> LesionPatch:
    """The lesion in the middle of 120 x 120 pixels of `pixel_mm`, with the slices 2 mm around it.

    The steps are those of rsummers11/CADLab@e6963e8:LesaNet/load_ct_img.py, which counts slices
    from the head. Where the patch reaches beyond the slice, the slice's border goes on; where it
    does on both sides, so here it does on both, while the reference moves the lesion off the
    middle. Beyond the volume's ends the last slice is repeated.

    Raises:
        ValueError: the box is empty, or its middle or the key slice lies outside the volume, or the
            spacing is not positive.
    """
    _check(lesion)
    height, width = lesion.volume.shape[1:]
    scale = np.array(lesion.spacing_mm[1:]) / pixel_mm  # (y, x)
    scale *= min(1.0, LARGEST_SLICE_PX / (scale * (height, width)).max())
    box = np.array(lesion.box_px, dtype=np.float64) * np.tile(scale[::-1], 2)
    centre = np.round((box[:2] + box[2:]) / 2)  # half to even, as the reference; (x, y)
    x, y = centre[:, None] + np.arange(PATCH_PX) - PATCH_PX // 2  # (120,) each
    at_y, at_x = before_resizing(y, height, scale[0]), before_resizing(x, width, scale[1])
    rows, columns = _seen(at_y), _seen(at_x)
    grey = _window(_three_slices(lesion, rows, columns))  # (3, rows, columns)
    image = interpolate(grey, 1, at_y - rows.start)  # (3, 120, columns)
    image = interpolate(image, 2, at_x - columns.start)  # (3, 120, 120)
    box_in_patch = np.maximum(box - np.tile(centre, 2) + PATCH_PX // 2, 0.0)
    return LesionPatch(
        ((image - MEAN_GREY) / GREY_LEVELS).astype(np.float32), box_in_patch.astype(np.float32)
    )


def _seen(at: np.ndarray) -> slice:
    """The pixels that lie around positions of one axis."""
    return slice(max(0, int(np.floor(at.min()))), int(np.ceil(at.max())) + 1)


def _three_slices(lesion: LesionInVolume, rows: slice, columns: slice) -> np.ndarray:
    """HU of the slices 2 mm above, at and 2 mm below the key slice, float64 (3, rows, columns).

    Above and below are interpolated between the two slices nearest to them.
    """
    seen = lesion.volume[:, rows, columns]
    last = len(seen) - 1
    steps = SLICE_MM / lesion.spacing_mm[0]
    weight = steps - np.floor(steps)

    def towards(direction: int) -> np.ndarray:
        near = np.clip(lesion.key_slice + direction * int(np.floor(steps)), 0, last)
        far = np.clip(lesion.key_slice + direction * int(np.ceil(steps)), 0, last)
        return seen[near] * (1.0 - weight) + seen[far] * weight

    return np.stack([towards(1), seen[lesion.key_slice], towards(-1)], dtype=np.float64)


def _window(hu: np.ndarray) -> np.ndarray:
    """HU as grey levels in [0, 255]."""
    low, high = WINDOW_HU
    return np.clip((hu - low) / (high - low), 0.0, 1.0) * GREY_LEVELS


def _check(lesion: LesionInVolume) -> None:
    depth, height, width = lesion.volume.shape
    x1, y1, x2, y2 = lesion.box_px
    if not 0 <= lesion.key_slice < depth:
        raise ValueError(f"key slice must be in [0, {depth}), got {lesion.key_slice}")
    if not (x1 <= x2 and y1 <= y2):
        raise ValueError(f"expected a box (x1, y1, x2, y2) with x1 <= x2, got {lesion.box_px}")
    if not (0 <= x1 + x2 <= 2 * width and 0 <= y1 + y2 <= 2 * height):
        raise ValueError(f"box {lesion.box_px} has its middle outside {width} x {height} pixels")
    if not min(lesion.spacing_mm) > 0:
        raise ValueError(f"spacing must be positive, got {lesion.spacing_mm} mm")
