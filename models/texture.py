"""IBSI texture features: GLCM, GLRLM, GLSZM, GLDZM, NGTDM and NGLDM of a discretised region.

Source: IBSI reference manual (Zwanenburg et al., arXiv:1612.07003), section 3.6 to 3.11. Names are
IBSI's tags, without the suffix for how directions are aggregated: here they are merged into one
matrix, in 3D ("3D_comb" in IBSI's tables) or in the plane of one slice ("2D_comb").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_cdt

from tumorbase.models._texture_matrices import neighbourhoods, pair_counts, run_counts, zones

# What `emphasis_features` are called in each family, in their order.
_RUNS_TAGS = (
    "rlm_sre rlm_lre rlm_lgre rlm_hgre rlm_srlge rlm_srhge rlm_lrlge rlm_lrhge rlm_glnu "
    "rlm_glnu_norm rlm_rlnu rlm_rlnu_norm rlm_r_perc rlm_gl_var rlm_rl_var rlm_rl_entr"
)
_ZONES_TAGS = (
    "szm_sze szm_lze szm_lgze szm_hgze szm_szlge szm_szhge szm_lzlge szm_lzhge szm_glnu "
    "szm_glnu_norm szm_zsnu szm_zsnu_norm szm_z_perc szm_gl_var szm_zs_var szm_zs_entr"
)
_DISTANCES_TAGS = (
    "dzm_sde dzm_lde dzm_lgze dzm_hgze dzm_sdlge dzm_sdhge dzm_ldlge dzm_ldhge dzm_glnu "
    "dzm_glnu_norm dzm_zdnu dzm_zdnu_norm dzm_z_perc dzm_gl_var dzm_zd_var dzm_zd_entr"
)
_DEPENDENCES_TAGS = (
    "ngl_lde ngl_hde ngl_lgce ngl_hgce ngl_ldlge ngl_ldhge ngl_hdlge ngl_hdhge ngl_glnu "
    "ngl_glnu_norm ngl_dcnu ngl_dcnu_norm ngl_dc_perc ngl_gl_var ngl_dc_var ngl_dc_entr"
)

# Coarseness of a region without any difference between neighbours (IBSI 3.10.1).
FLAT_COARSENESS = 1e6


@dataclass(frozen=True)
class LevelGrid:
    """A region's grey levels as the counting functions read them.

    `levels` and `distances` are flat with a border of zeros; `distances` is the number of steps
    over faces to the border of the morphological mask. `directions` are half of `neighbours`, one
    of each opposite pair.
    """

    levels: np.ndarray  # int32 (n,)
    distances: np.ndarray  # int32 (n,)
    voxels: np.ndarray  # int64 (voxels,)
    directions: np.ndarray  # int64 (13,) or, in the plane, (4,)
    neighbours: np.ndarray  # int64 (26,) or (8,)
    level_count: int
    longest: int  # no run is longer, in voxels


def level_grid(levels: np.ndarray, mask: np.ndarray, is_plane: bool = False) -> LevelGrid:
    """Lays out `levels`, int (z, y, x) with 0 outside the region, for counting.

    `mask`, bool (z, y, x), is the morphological mask to whose border distances are taken; it holds
    all voxels of the region. A plane is one slice, without neighbours or a border above and below.
    """
    padded = np.pad(levels.astype(np.int32), 1)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    if is_plane:
        steps = steps[steps[:, 0] == 0]
    offsets = (steps @ strides).astype(np.int64)  # lexicographic: the second half is the opposite
    flat = padded.ravel()
    return LevelGrid(
        levels=flat,
        distances=_border_distance(mask, is_plane).ravel(),
        voxels=np.flatnonzero(flat).astype(np.int64),
        directions=offsets[len(offsets) // 2 + 1 :],
        neighbours=np.delete(offsets, len(offsets) // 2),
        level_count=int(flat.max(initial=0)),
        longest=max(levels.shape),
    )


def _border_distance(mask: np.ndarray, is_plane: bool) -> np.ndarray:
    """Steps over faces to the nearest voxel outside the mask, int32, padded by one on each side."""
    padded = np.pad(mask, 1)
    if not is_plane:
        return distance_transform_cdt(padded, metric="taxicab").astype(np.int32)
    inside = distance_transform_cdt(padded[1], metric="taxicab").astype(np.int32)
    return np.pad(inside[None], ((1, 1), (0, 0), (0, 0)))


def texture_features(grid: LevelGrid) -> dict[str, float]:
    """All texture features of a region of at least one voxel, by IBSI tag."""
    voxels = len(grid.voxels)
    pairs = pair_counts(grid.levels, grid.voxels, grid.directions, grid.level_count)
    runs = run_counts(grid.levels, grid.voxels, grid.directions, grid.level_count, grid.longest)
    level, size, distance = zones(grid.levels, grid.distances, grid.voxels, grid.neighbours)
    present, difference, dependence = neighbourhoods(
        grid.levels, grid.voxels, grid.neighbours, grid.level_count
    )
    by_length = dense_entries(runs.sum(axis=0))
    by_dependence = dense_entries(dependence)
    return {
        **glcm_features(pairs.sum(axis=0)),
        **emphasis_features(_RUNS_TAGS, *by_length, voxels=voxels * len(runs)),
        **emphasis_features(_ZONES_TAGS, *merged_entries(level, size), voxels=voxels),
        **emphasis_features(_DISTANCES_TAGS, *merged_entries(level, distance), voxels=voxels),
        **ngtdm_features(present, difference),
        **emphasis_features(_DEPENDENCES_TAGS, *by_dependence, voxels=voxels),
        "ngl_dc_energy": float(((by_dependence[2] / voxels) ** 2).sum()),
    }


def dense_entries(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, size and count of the entries of a matrix indexed (level - 1, size - 1)."""
    row, column = np.nonzero(matrix)
    return row + 1, column + 1, matrix[row, column]


def merged_entries(
    levels: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, size and count of the entries of the matrix to which zones add up."""
    width = int(sizes.max()) + 1
    keys, counts = np.unique(levels * width + sizes, return_counts=True)
    return keys // width, keys % width, counts


def glcm_features(counts: np.ndarray) -> dict[str, float]:
    """The 25 features of IBSI 3.6 from pair counts (levels, levels) of one sense of each direction.

    A region without pairs counts as one pair of its level with itself at probability 1, so that
    homogeneity is 1, contrast and entropies are 0. Where both marginals have no variance, the
    correlation is 1 (IBSI 3.6.19), and the information correlations are 0.
    """
    counts = counts.astype(np.float64)
    if counts.sum() == 0:
        counts[-1, -1] = 1.0
    n = len(counts)
    p = (counts + counts.T) / (2 * counts.sum())  # (n, n)
    level = np.arange(1, n + 1, dtype=np.float64)
    i, j = level[:, None], level[None, :]
    marginal = p.sum(axis=1)  # (n,), the same for both sides as p is symmetric
    row, column = np.indices(p.shape)
    p_difference = np.bincount(np.abs(row - column).ravel(), p.ravel())  # (n,), k = 0 ..
    p_sum = np.bincount((row + column).ravel(), p.ravel())  # (2n - 1,), k = 2 ..
    k_difference = np.arange(n, dtype=np.float64)
    k_sum = np.arange(2, 2 * n + 1, dtype=np.float64)
    mean = float(marginal @ level)
    variance = float(marginal @ (level - mean) ** 2)
    difference_mean = float(p_difference @ k_difference)
    sum_mean = float(p_sum @ k_sum)
    centred = k_sum - 2 * mean
    autocorrelation = float((p * (i * j)).sum())
    squared = k_difference**2
    is_apart = k_difference > 0
    entropy, marginal_entropy = _entropy(p), _entropy(marginal)
    cross = np.outer(marginal, marginal)
    log_cross = np.log2(cross, where=cross > 0, out=np.zeros_like(cross))
    hxy1, hxy2 = -float((p * log_cross).sum()), -float((cross * log_cross).sum())
    return {
        "cm_joint_max": float(p.max()),
        "cm_joint_avg": mean,
        "cm_joint_var": variance,
        "cm_joint_entr": entropy,
        "cm_diff_avg": difference_mean,
        "cm_diff_var": float(p_difference @ (k_difference - difference_mean) ** 2),
        "cm_diff_entr": _entropy(p_difference),
        "cm_sum_avg": sum_mean,
        "cm_sum_var": float(p_sum @ (k_sum - sum_mean) ** 2),
        "cm_sum_entr": _entropy(p_sum),
        "cm_energy": float((p**2).sum()),
        "cm_contrast": float(p_difference @ squared),
        "cm_dissimilarity": difference_mean,
        "cm_inv_diff": float(p_difference @ (1 / (1 + k_difference))),
        "cm_inv_diff_norm": float(p_difference @ (1 / (1 + k_difference / n))),
        "cm_inv_diff_mom": float(p_difference @ (1 / (1 + squared))),
        "cm_inv_diff_mom_norm": float(p_difference @ (1 / (1 + squared / n**2))),
        "cm_inv_var": float((p_difference[is_apart] / squared[is_apart]).sum()),
        "cm_corr": (autocorrelation - mean**2) / variance if variance > 1e-12 else 1.0,
        "cm_auto_corr": autocorrelation,
        "cm_clust_tend": float(p_sum @ centred**2),
        "cm_clust_shade": float(p_sum @ centred**3),
        "cm_clust_prom": float(p_sum @ centred**4),
        "cm_info_corr1": (entropy - hxy1) / marginal_entropy if marginal_entropy > 1e-12 else 0.0,
        "cm_info_corr2": float(np.sqrt(max(0.0, 1 - np.exp(-2 * (hxy2 - entropy))))),
    }


def emphasis_features(
    tags: str, levels: np.ndarray, sizes: np.ndarray, counts: np.ndarray, voxels: int
) -> dict[str, float]:
    """The 16 features that GLRLM, GLSZM, GLDZM and NGLDM share (IBSI 3.7, 3.8, 3.9, 3.11).

    Args:
        tags: what the family calls them, in the order of the formulas below.
        levels: of the matrix's non-zero entries, (entries,).
        sizes: run lengths, zone sizes, zone distances or dependence counts, (entries,).
        counts: of the entries, (entries,).
        voxels: of the region, times the number of merged directions.
    """
    total = counts.sum()
    p = counts / total
    i, j = levels.astype(np.float64), sizes.astype(np.float64)
    by_level = np.bincount(levels, counts)
    by_size = np.bincount(np.unique(sizes, return_inverse=True)[1], counts)
    values = (
        p @ j**-2,
        p @ j**2,
        p @ i**-2,
        p @ i**2,
        p @ (i**-2 * j**-2),
        p @ (i**2 * j**-2),
        p @ (i**-2 * j**2),
        p @ (i**2 * j**2),
        (by_level**2).sum() / total,
        (by_level**2).sum() / total**2,
        (by_size**2).sum() / total,
        (by_size**2).sum() / total**2,
        total / voxels,
        p @ (i - p @ i) ** 2,
        p @ (j - p @ j) ** 2,
        _entropy(p),
    )
    return dict(zip(tags.split(), map(float, values), strict=True))


def ngtdm_features(present: np.ndarray, difference: np.ndarray) -> dict[str, float]:
    """The five features of IBSI 3.10 from voxels and summed differences by level, both (levels,).

    Defined where the formulas divide by zero: coarseness of a region without differences is 1e6;
    contrast, busyness, complexity and strength are then 0, as they are for a single level.
    """
    total = present.sum()
    level = np.flatnonzero(present) + 1.0  # (g,)
    s = difference[present > 0]
    p = present[present > 0] / max(total, 1)
    flatness = float(p @ s)
    values = {"ngt_coarseness": 1 / flatness if flatness > 0 else FLAT_COARSENESS}
    g = len(level)
    gap = level[:, None] - level[None, :]  # (g, g)
    both = p[:, None] + p[None, :]
    spread = float((p[:, None] * p[None, :] * gap**2).sum())
    weighted = p * level
    busy = float(np.abs(weighted[:, None] - weighted[None, :]).sum())
    mixed = (p * s)[:, None] + (p * s)[None, :]
    difference_sum = float(s.sum())
    values["ngt_contrast"] = spread / (g * (g - 1)) * difference_sum / total if g > 1 else 0.0
    values["ngt_busyness"] = flatness / busy if busy > 0 else 0.0
    values["ngt_complexity"] = float((np.abs(gap) * mixed / both).sum()) / max(total, 1)
    strength = float((both * gap**2).sum())
    values["ngt_strength"] = strength / difference_sum if difference_sum > 0 else 0.0
    return values


def _entropy(p: np.ndarray) -> float:
    """Shannon entropy in bits."""
    positive = p[p > 0]
    return float(-(positive * np.log2(positive)).sum()) + 0.0  # no negative zero
