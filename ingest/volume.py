"""A volume: voxels on a grid in patient space (LPS, mm), its axes turned to left, back, head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

# Corners of two grids may lie this part of a voxel apart before they count as different grids.
GRID_TOLERANCE = 0.05
# No scanner's units reach so far, and the squares of larger voxels leave float32.
LARGEST_VOXEL = 1e18


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a volume lie.

    `shape` is (z, y, x). `affine` is float64 (4, 4) and takes an index (x, y, z, 1) to the voxel's
    centre in LPS mm; a tilted gantry makes its axes oblique.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0), (x, y, z) in LPS mm."""
        x_mm, y_mm, z_mm = self.affine[:3, 3]
        return float(x_mm), float(y_mm), float(z_mm)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along each axis, (z, y, x)."""
        x_mm, y_mm, z_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z_mm), float(y_mm), float(x_mm)

    @property
    def direction(self) -> np.ndarray:
        """Unit vectors of the x, y and z axis as columns, float64 (3, 3), LPS."""
        axes: np.ndarray = self.affine[:3, :3]
        return axes / np.linalg.norm(axes, axis=0)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel, also right for oblique axes."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_lps(self, indices_zyx: np.ndarray) -> np.ndarray:
        """Points (x, y, z) in LPS mm of (z, y, x) indices, whole or not; both float64 (n, 3)."""
        return indices_zyx[:, ::-1] @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, points_mm: np.ndarray) -> np.ndarray:
        """Indices (z, y, x), not rounded, of points (x, y, z) in LPS mm; both float64 (n, 3)."""
        inverse = np.linalg.inv(self.affine)
        return (points_mm @ inverse[:3, :3].T + inverse[:3, 3])[:, ::-1]

    def corners_mm(self) -> np.ndarray:
        """Centres of the eight corner voxels in LPS mm, float64 (8, 3)."""
        last = np.array(self.shape) - 1
        return self.to_lps(np.array(list(np.ndindex(2, 2, 2))) * last)

    def matches(self, other: Grid) -> bool:
        """Whether both have one shape and corners less than `GRID_TOLERANCE` of a voxel apart."""
        if self.shape != other.shape:
            return False
        apart_mm = np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max()
        return bool(apart_mm <= GRID_TOLERANCE * min(self.spacing_mm))

    def __str__(self) -> str:
        """Shape, spacing and origin, for messages."""
        spacing = " x ".join(f"{mm:.4g}" for mm in self.spacing_mm)
        origin = ", ".join(f"{mm:.2f}" for mm in self.origin_mm)
        return f"shape (z, y, x) {self.shape}, spacing {spacing} mm, origin ({origin}) mm"


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels float32 (z, y, x) on their grid: HU of CT, SUV of PET, scanner units otherwise."""

    voxels: np.ndarray
    grid: Grid


def unmeasurable(voxels: np.ndarray) -> str:
    """Why voxels, float32 of any shape, cannot be measured; empty if they can."""
    # NaN passes on to the extremes, and neither of them needs a second array.
    least, greatest = float(voxels.min(initial=0)), float(voxels.max(initial=0))
    if least >= -LARGEST_VOXEL and greatest <= LARGEST_VOXEL:
        return ""
    bad = int(np.size(voxels) - np.isfinite(voxels).sum())
    if bad:
        return f"voxels must be finite, {bad} are NaN or infinite"
    return f"voxels must be at most {LARGEST_VOXEL:g} by size, got {least:g} to {greatest:g}"


def turn_to_lps(array_xyz: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, Grid]:
    """The array as a view (z, y, x) whose axes ascend towards left, back and head, and its grid.

    Args:
        array_xyz: any type, (x, y, z) in the index order of `affine`.
        affine: float64 (4, 4), index (x, y, z, 1) to LPS mm.
    """
    orientation = io_orientation(affine)
    turned = apply_orientation(array_xyz, orientation).T
    depth, height, width = turned.shape
    return turned, Grid((depth, height, width), affine @ inv_ornt_aff(orientation, array_xyz.shape))
