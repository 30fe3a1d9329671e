"""What HoVer-Net is trained to say of a window, made from its annotated nuclei."""

from __future__ import annotations

import numpy as np
from skimage.measure import label

MIN_AREA_PX = 30  # of a nucleus inside the output, below which its middle is not learnt
WHOLE = np.s_[:, :]


def targets(
    labels: np.ndarray, output_px: int, types: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Targets of the middle of a window, by the name of the network's map that is to equal them.

    Distances of a nucleus that reaches out of the middle are those of the whole nucleus, so give
    the window as large as there is (the reference takes 540 px).

    Args:
        labels: nuclei of the window, integers (H, W), 0 background.
        output_px: side of the middle that the network predicts.
        types: type of each pixel, integers (H, W), 0 background.

    Returns:
        "tp" int64 (output, output), only with `types`; "np" int64 (output, output), 1 in nuclei;
        "hv" float32 (2, output, output) as `hv_target`.

    Raises:
        ValueError: a map smaller than the output, or types of another shape.
    """
    if min(labels.shape) < output_px:
        raise ValueError(f"expected labels of at least {output_px} px a side, got {labels.shape}")
    if types is not None and types.shape != labels.shape:
        raise ValueError(f"expected types of shape {labels.shape}, got {types.shape}")
    top, left = ((side - output_px) // 2 for side in labels.shape)
    middle = np.s_[top : top + output_px, left : left + output_px]
    made = {} if types is None else {"tp": types[middle].astype(np.int64)}
    is_nucleus = (labels[middle] > 0).astype(np.int64)
    return made | {"np": is_nucleus, "hv": hv_target(labels, middle)}


def hv_target(labels: np.ndarray, middle: tuple[slice, slice] = WHOLE) -> np.ndarray:
    """How far right and down of the middle of its nucleus each pixel lies: float32 (2, h, w).

    Each side of a nucleus is scaled by its own extent, to -1 and 1 at the edges (Graham et al.
    2019, section 3.1). The pieces of a nucleus in several pieces count as nuclei, and those with
    less than `MIN_AREA_PX` in the middle are 0, as is background.

    Args:
        labels: integers (H, W), 0 background.
        middle: the part (h, w) to return; nuclei that reach out of it are measured whole.
    """
    pieces = label(labels, background=0, connectivity=1)
    is_learnt = np.bincount(pieces[middle].ravel(), minlength=pieces.max() + 1) >= MIN_AREA_PX
    is_learnt[0] = False
    y, x = np.nonzero(is_learnt[pieces])
    hv = np.zeros((2, *labels.shape), dtype=np.float32)
    hv[:, y, x] = [_from_middle(place, pieces[y, x]) for place in (x, y)]
    return hv[:, *middle]


def _from_middle(place_px: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """Signed distance of each pixel from the middle of its nucleus along one axis, in [-1, 1]."""
    area = np.maximum(np.bincount(nucleus), 1)
    centre_px = np.floor(np.bincount(nucleus, weights=place_px) / area + 0.5)
    # Zero lies one pixel before the centre: the reference counts pixels from 1, and published
    # weights have learnt it.
    offset = place_px + 1 - centre_px[nucleus]
    lowest, highest = np.zeros_like(centre_px), np.zeros_like(centre_px)
    np.minimum.at(lowest, nucleus, offset)
    np.maximum.at(highest, nucleus, offset)
    extent = np.where(offset < 0, -lowest[nucleus], highest[nucleus])
    return offset / np.maximum(extent, 1.0)
