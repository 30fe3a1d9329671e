"""IBSI morphological features of a region, and those of a single slice.

Source: IBSI reference manual (Zwanenburg et al., arXiv:1612.07003), section 3.1; names are IBSI's
tags. The mesh is marching cubes at 0.5 (Lewiner et al. 2003), lengths are in mm.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes

from tumorbase.models.recist_axes import hull_axes, outline_hull


def shape_features(
    image: np.ndarray, mask: np.ndarray, intensity_mask: np.ndarray, spacing_mm: np.ndarray
) -> dict[str, float]:
    """Morphology of `mask`, bool (z, y, x) and not empty, with its intensities in `image`.

    `intensity_mask` is what re-segmentation leaves of `mask`, all where there was none. Regions
    whose voxels lie on a line or in a plane have axes of length 0; where that leaves their
    ellipsoid no volume or no area, the density against it is 0. A single voxel counts as round.
    """
    vertices, faces = region_mesh(mask, spacing_mm)  # (vertices, 3) mm, (faces, 3)
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))  # (faces, 3)
    cross = np.cross(second - first, third - first)
    area = float(np.linalg.norm(cross, axis=1).sum()) / 2
    volume = abs(float((first * cross).sum())) / 6
    hull = ConvexHull(vertices)
    box = np.ptp(vertices, axis=0)
    points = np.argwhere(mask) * spacing_mm  # (voxels, 3)
    inner = points[intensity_mask[mask]]
    intensities = image[intensity_mask].astype(np.float64)
    major, minor, least = axis_lengths(points)
    ellipsoid_volume = np.pi * major * minor * least / 6
    ellipsoid_area = ellipsoid_surface(major / 2, minor / 2, least / 2)
    sphere_area = (36 * np.pi * volume**2) ** (1 / 3)
    return {
        "morph_volume": volume,
        "morph_vol_approx": float(len(points) * np.prod(spacing_mm)),
        "morph_area_mesh": area,
        "morph_av": area / volume,
        "morph_comp_1": volume / (np.sqrt(np.pi) * area**1.5),
        "morph_comp_2": 36 * np.pi * volume**2 / area**3,
        "morph_sph_dispr": area / sphere_area,
        "morph_sphericity": sphere_area / area,
        "morph_asphericity": (area**3 / (36 * np.pi * volume**2)) ** (1 / 3) - 1,
        "morph_com": centre_shift(points, inner, intensities),
        "morph_diam": float(pdist(vertices[hull.vertices]).max()),
        "morph_pca_maj_axis": major,
        "morph_pca_min_axis": minor,
        "morph_pca_least_axis": least,
        "morph_pca_elongation": minor / major if major > 0 else 1.0,
        "morph_pca_flatness": least / major if major > 0 else 1.0,
        "morph_vol_dens_aabb": volume / float(np.prod(box)),
        "morph_area_dens_aabb": area / float(2 * (box * np.roll(box, 1)).sum()),
        "morph_vol_dens_aee": volume / ellipsoid_volume if ellipsoid_volume > 0 else 0.0,
        "morph_area_dens_aee": area / ellipsoid_area if ellipsoid_area > 0 else 0.0,
        "morph_vol_dens_conv_hull": volume / float(hull.volume),
        "morph_area_dens_conv_hull": area / float(hull.area),
        "morph_integ_int": float(intensities.mean()) * volume if len(intensities) else 0.0,
    }


def region_mesh(mask: np.ndarray, spacing_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closed surface of a mask: vertices in mm float64 (vertices, 3), triangles int (faces, 3)."""
    padded = np.pad(mask, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, level=0.5)
    # Scaled here, in double precision: half a voxel is exact in the mesh's single precision.
    return vertices.astype(np.float64) * spacing_mm, faces


def axis_lengths(points_mm: np.ndarray) -> tuple[float, float, float]:
    """Full lengths of the principal axes of points (n, 3), longest first: 4 sqrt(eigenvalue).

    IBSI's reference values need the unbiased covariance, over n - 1; of a single point all are 0.
    """
    centred = points_mm - points_mm.mean(axis=0)
    # einsum and no product of matrices: three columns do not repay waking the threads of a BLAS.
    scatter = np.einsum("ni,nj->ij", centred, centred)
    eigenvalues = np.linalg.eigvalsh(scatter / max(len(points_mm) - 1, 1))
    # So small a part of the largest variance is rounding: the points lie in a plane or on a line.
    eigenvalues[eigenvalues < 1e-12 * max(eigenvalues[-1], 1e-300)] = 0.0
    least, minor, major = 4 * np.sqrt(eigenvalues)
    return float(major), float(minor), float(least)


def ellipsoid_surface(a: float, b: float, c: float) -> float:
    """IBSI's surface of an ellipsoid of half axes a >= b >= c (3.1.18), a series in Legendre terms.

    It is not the true surface (Maas 1994 takes the eccentricities against c, IBSI against a: on the
    digital phantom 287 instead of 297 mm2), but the one that the reference values are made with.
    """
    if a == 0:
        return 0.0
    alpha_squared, beta_squared = 1 - (b / a) ** 2, 1 - (c / a) ** 2
    half_sum, product = (alpha_squared + beta_squared) / 2, alpha_squared * beta_squared
    # (alpha beta)^n P_n((alpha^2 + beta^2) / (2 alpha beta)) by the recurrence of P_n, which so
    # scaled needs no division and holds for alpha = 0, too.
    previous, term, total = 1.0, half_sum, 1.0
    for n in range(1, 21):
        total += term / (1 - 4 * n**2)
        previous, term = term, ((2 * n + 1) * half_sum * term - n * product * previous) / (n + 1)
    return 4 * np.pi * a * b * total


def centre_shift(points: np.ndarray, inner: np.ndarray, intensities: np.ndarray) -> float:
    """Distance in mm between the centre of the region and that of its intensities (IBSI 3.1.9).

    0 where the intensities add up to 0. Intensities of both signs can move the centre far outside.
    """
    total = intensities.sum()
    if total == 0:
        return 0.0
    centre = np.einsum("n,ni->i", intensities, inner) / total
    return float(np.linalg.norm(points.mean(axis=0) - centre))


def slice_features(mask: np.ndarray, spacing_mm: np.ndarray) -> dict[str, float]:
    """Shape of a region of one slice, bool (y, x) and not empty; `spacing_mm` is (y, x).

    Axes as in RECIST 1.1; the perimeter is that of the hull of the pixels' outer edges, and so is
    `convexity` = area / hull area; `ellipse_density` is area over that of the ellipse of both axes.
    """
    hull = outline_hull(mask) * spacing_mm
    following = np.roll(hull, -1, axis=0)
    hull_area = abs(float((hull[:, 0] * following[:, 1] - hull[:, 1] * following[:, 0]).sum())) / 2
    area = float(mask.sum() * np.prod(spacing_mm))
    long_axis, short_axis = hull_axes(hull)
    return {
        "area_mm2": area,
        "long_axis_mm": long_axis,
        "short_axis_mm": short_axis,
        "axis_ratio": short_axis / long_axis,
        "hull_perimeter_mm": float(np.linalg.norm(following - hull, axis=1).sum()),
        "convexity": area / hull_area,
        "ellipse_density": area / (np.pi / 4 * long_axis * short_axis),
    }
