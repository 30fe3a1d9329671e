"""A phantom trunk: HU and organs on a grid, from ellipsoids and cylinders in LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

ORGANS = ("none", "lung_right", "lung_left", "liver", "kidney_right", "kidney_left", "mediastinum")
GRID_SHAPE = (76, 106, 140)  # (z, y, x)
GRID_SPACING_MM = (4.0, 3.0, 3.0)

_Axes = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """`hu` float32 and `organ` uint8 (index into ORGANS), both (z, y, x), centred on the origin."""

    hu: np.ndarray
    organ: np.ndarray


def grid_origin_mm() -> np.ndarray:
    """LPS position of voxel (0, 0, 0), in (z, y, x) order, float64 (3,)."""
    return -0.5 * (np.asarray(GRID_SHAPE) - 1) * np.asarray(GRID_SPACING_MM)


def build_anatomy(rng: np.random.Generator) -> Anatomy:
    """One patient's trunk from the kidneys to the upper chest, without lesions."""
    z, y, x = _axes(rng)
    hu = np.full(GRID_SHAPE, -1000.0, dtype=np.float32)
    organ = np.zeros(GRID_SHAPE, dtype=np.uint8)
    _paint_wall((z, y, x), hu, fat_mm=float(rng.uniform(9, 20)))
    _paint_abdomen(rng, (z, y, x), hu)
    _paint_chest(rng, (z, y, x), hu, organ)
    _paint_abdominal_organs((z, y, x), hu, organ)
    _paint_spine_and_vessels((z, y, x), hu, organ)
    return Anatomy(ndimage.gaussian_filter(hu, 0.5), organ)


def _axes(rng: np.random.Generator) -> _Axes:
    """Open coordinates in the standard body, so that a bigger patient has bigger organs."""
    size = rng.uniform(0.94, 1.06, size=3)
    origin = grid_origin_mm()
    z, y, x = (
        (origin[axis] + GRID_SPACING_MM[axis] * np.arange(GRID_SHAPE[axis])) / size[axis]
        for axis in range(3)
    )
    return (
        z.astype(np.float32)[:, None, None],
        y.astype(np.float32)[None, :, None],
        x.astype(np.float32)[None, None, :],
    )


def _ellipsoid(
    axes: _Axes, centre_xyz: tuple[float, ...], semi_xyz: tuple[float, ...]
) -> np.ndarray:
    """Squared relative radius, below 1 inside; float32 (z, y, x). Infinite semi-axis: cylinder."""
    (z, y, x), (cx, cy, cz), (ax, ay, az) = axes, centre_xyz, semi_xyz
    return ((x - cx) / ax) ** 2 + ((y - cy) / ay) ** 2 + ((z - cz) / az) ** 2


def _noise(rng: np.random.Generator, sigma_voxel: float) -> np.ndarray:
    """Smooth noise of unit deviation, float32 of GRID_SHAPE."""
    noise = ndimage.gaussian_filter(rng.standard_normal(GRID_SHAPE, dtype=np.float32), sigma_voxel)
    return noise / noise.std()


def _paint_wall(axes: _Axes, hu: np.ndarray, fat_mm: float) -> None:
    """Skin, subcutaneous fat, muscle and ribs."""
    z, y, _ = axes
    inf = np.inf
    hu[_ellipsoid(axes, (0, 0, 0), (172, 117, inf)) < 1] = 20  # skin
    hu[_ellipsoid(axes, (0, 0, 0), (169, 114, inf)) < 1] = -102  # fat
    hu[_ellipsoid(axes, (0, 0, 0), (169 - fat_mm, 114 - fat_mm, inf)) < 1] = 55  # muscle
    cage = _ellipsoid(axes, (0, 0, 0), (158 - fat_mm, 103 - fat_mm, inf))
    rib = np.cos(2 * np.pi * (z - 0.45 * y) / 27.0) > 0.45
    hu[(cage < 1) & (cage > 0.9) & rib & (z > -75)] = 420


def _paint_abdomen(rng: np.random.Generator, axes: _Axes, hu: np.ndarray) -> None:
    """Visceral fat with loops of bowel, below the diaphragm."""
    z = axes[0]
    cavity = (_ellipsoid(axes, (0, -5, 0), (128, 78, np.inf)) < 1) & (z < -10)
    hu[cavity] = -98
    hu[cavity & (_noise(rng, 4.0) > 0.35)] = 38


def _paint_chest(rng: np.random.Generator, axes: _Axes, hu: np.ndarray, organ: np.ndarray) -> None:
    """Lungs with their vessels, mediastinum, heart and trachea."""
    vessels = (
        _noise(rng, 2.2) ** 2 + _noise(rng, 2.2) ** 2 < 0.06
    )  # where two fields vanish: curves
    grain = _noise(rng, 1.2)
    for side in (-1, 1):
        lung = _ellipsoid(axes, (side * 74, -2, 62), (59, 76, 112)) < 1
        hu[lung] = -860 + 22 * grain[lung]
        hu[lung & vessels] = -60
        organ[lung] = ORGANS.index("lung_right" if side < 0 else "lung_left")
    mediastinum = _ellipsoid(axes, (2, 8, 60), (32, 62, 150)) < 1
    hu[mediastinum & (organ != 0)] = 35
    fat = mediastinum & (_noise(rng, 3.0) > 0.4)
    hu[fat & (axes[0] > -10)] = -75
    organ[mediastinum] = ORGANS.index("mediastinum")
    heart = _ellipsoid(axes, (20, -22, 12), (54, 48, 52))
    hu[heart < 1] = 60
    chambers = (_ellipsoid(axes, (30, -24, 10), (28, 28, 32)) < 1) | (
        _ellipsoid(axes, (-8, -18, 16), (20, 24, 28)) < 1
    )
    hu[chambers] = 150
    organ[heart < 1] = 0
    hu[(_ellipsoid(axes, (0, 12, 0), (9, 8, np.inf)) < 1) & (axes[0] > 66)] = -990  # trachea


def _paint_abdominal_organs(axes: _Axes, hu: np.ndarray, organ: np.ndarray) -> None:
    liver = (_ellipsoid(axes, (-62, -8, -62), (86, 78, 66)) < 1) & (
        _ellipsoid(axes, (0, 0, 0), (140, 86, np.inf)) < 1
    )
    hu[liver] = 108
    organ[liver] = ORGANS.index("liver")
    spleen = _ellipsoid(axes, (96, 38, -56), (27, 36, 44)) < 1
    hu[spleen] = 118
    organ[spleen] = 0
    stomach = _ellipsoid(axes, (58, -34, -58), (46, 36, 40))
    hu[stomach < 1] = 45
    hu[stomach < 0.8] = 15
    hu[(stomach < 0.8) & (axes[1] < -46)] = -950  # air rises in the supine patient
    organ[stomach < 1] = 0
    for side in (-1, 1):
        kidney = _ellipsoid(axes, (side * 68, 46, -106 + 4 * side), (29, 26, 50))
        hu[kidney < 1.3] = -95
        hu[kidney < 1] = 185
        hu[kidney < 0.42] = 128
        hu[_ellipsoid(axes, (side * 56, 42, -106), (12, 9, 20)) < 1] = -60  # renal sinus
        organ[kidney < 1.3] = 0
        organ[kidney < 1] = ORGANS.index("kidney_right" if side < 0 else "kidney_left")


def _paint_spine_and_vessels(axes: _Axes, hu: np.ndarray, organ: np.ndarray) -> None:
    z = axes[0]
    inf = np.inf
    hu[_ellipsoid(axes, (0, 80, 0), (62, 22, inf)) < 1] = 58  # erector spinae
    body = _ellipsoid(axes, (0, 62, 0), (23, 18, inf))
    is_disc = np.abs((z / 30.0) - np.round(z / 30.0)) < 0.11
    hu[body < 1] = 430
    hu[body < 0.78] = 190
    hu[(body < 1) & is_disc] = 85
    arch = _ellipsoid(axes, (0, 88, 0), (15, 13, inf))
    hu[arch < 1] = 380
    hu[_ellipsoid(axes, (0, 100, 0), (4, 14, inf)) < 1] = 350  # spinous process
    hu[arch < 0.45] = 30  # canal
    aorta = _ellipsoid(axes, (17, 38, 0), (12, 12, inf)) < 1
    hu[aorta] = 175
    ascending = (_ellipsoid(axes, (-8, -22, 0), (14, 14, inf)) < 1) & (z > 20) & (z < 90)
    hu[ascending] = 175
    cava = (_ellipsoid(axes, (-19, 34, 0), (11, 9, inf)) < 1) & (z < 15)
    hu[cava] = 150
    organ[(body < 1) | (arch < 1) | aorta | ascending | cava] = 0
