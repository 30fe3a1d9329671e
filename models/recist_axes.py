"""RECIST 1.1 axes of a lesion from its mask."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull


def recist_axes_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """The lesion's longest axial diameter, and the longest one perpendicular to it, in mm.

    The long axis is the greatest distance between two points of the lesion's outline in one axial
    slice, over all slices; the short axis is the longest chord perpendicular to it in that slice
    (RECIST 1.1, Eisenhauer et al. 2009, section 3). The outline runs along the outer edges of the
    pixels, and chords are those of its convex hull, as a caliper measures. Of equal long axes the
    first slice's is taken.

    Args:
        mask: bool (z, y, x).
        spacing_mm: (z, y, x).

    Raises:
        ValueError: the mask is empty or not three-dimensional.
    """
    if mask.ndim != 3 or not mask.any():
        raise ValueError(f"expected a mask (z, y, x) that is not empty, got shape {mask.shape}")
    in_plane_mm = np.asarray(spacing_mm[1:], dtype=np.float64)
    longest, perpendicular = 0.0, 0.0
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        hull = outline_hull(mask[z]) * in_plane_mm
        if np.hypot(*np.ptp(hull, axis=0)) <= longest:
            continue  # no two points can be further apart than the box's corners
        long_axis, short_axis = hull_axes(hull)
        if long_axis > longest * (1 + 1e-9):
            longest, perpendicular = long_axis, short_axis
    return longest, perpendicular


def outline_hull(mask: np.ndarray) -> np.ndarray:
    """Vertices of the convex hull of all pixels' corners, (vertices, 2) as (y, x), in order around.

    `mask` is bool (y, x), not empty; pixel (0, 0) reaches from -0.5 to 0.5.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1) - 0.5
    right = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1) + 0.5
    y = np.concatenate([rows - 0.5, rows + 0.5, rows - 0.5, rows + 0.5])
    x = np.concatenate([left, left, right, right])
    corners = np.stack([y, x], axis=1)
    return corners[ConvexHull(corners).vertices]


def hull_axes(hull: np.ndarray) -> tuple[float, float]:
    """The greatest distance between vertices (n, 2), and the longest chord perpendicular to it."""
    apart = hull[:, None, :] - hull[None, :, :]  # (n, n, 2)
    squared = (apart**2).sum(axis=-1)
    first, second = np.unravel_index(squared.argmax(), squared.shape)
    long_axis = float(np.sqrt(squared[first, second]))
    along = (hull[second] - hull[first]) / long_axis
    across = np.array([-along[1], along[0]])
    u, v = (hull - hull[first]) @ along, (hull - hull[first]) @ across
    # The ends of the long axis part the hull into two chains, each a function of u. The chord
    # between them is concave in u and linear between vertices, so it is longest at a vertex.
    chord = _height(u, np.maximum(v, 0), long_axis) + _height(u, np.maximum(-v, 0), long_axis)
    return long_axis, float(chord.max())


def _height(u: np.ndarray, v: np.ndarray, long_axis: float) -> np.ndarray:
    """Height at each u of the chain of the vertices with v > 0 and the long axis's two ends."""
    on_chain = v > 0
    order = np.argsort(u[on_chain])
    chain_u = np.concatenate([[0.0], u[on_chain][order], [long_axis]])
    chain_v = np.concatenate([[0.0], v[on_chain][order], [0.0]])
    return np.interp(u, chain_u, chain_v)
