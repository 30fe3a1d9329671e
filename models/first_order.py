"""IBSI intensity statistics and intensity histogram features of a region.

Source: IBSI reference manual (Zwanenburg et al., arXiv:1612.07003), sections 3.3 and 3.4; names are
IBSI's tags.
"""

from __future__ import annotations

import numpy as np


def intensity_statistics(intensities: np.ndarray) -> dict[str, float]:
    """The 18 statistics of IBSI 3.3 of intensities (voxels,), at least one.

    Defined where the formulas divide by zero: skewness and excess kurtosis of constant intensities
    are 0, and so are the coefficients of variation and of quartile dispersion over a zero.
    """
    x = intensities.astype(np.float64)
    p10, p25, median, p75, p90 = np.percentile(x, [10, 25, 50, 75, 90])
    mean = x.mean()
    centred = x - mean
    squared = centred * centred  # products: numpy's powers take ten times as long
    variance = squared.mean()
    is_constant = x.min() == x.max()
    inner = x[(x >= p10) & (x <= p90)]  # never empty: the median is in it, or two values beside it
    squares = float((x * x).sum())
    values = {
        "stat_mean": mean,
        "stat_var": variance,
        "stat_skew": 0.0 if is_constant else (squared * centred).mean() / variance**1.5,
        "stat_kurt": 0.0 if is_constant else (squared * squared).mean() / variance**2 - 3,
        "stat_median": median,
        "stat_min": x.min(),
        "stat_p10": p10,
        "stat_p90": p90,
        "stat_max": x.max(),
        "stat_iqr": p75 - p25,
        "stat_range": x.max() - x.min(),
        "stat_mad": np.abs(centred).mean(),
        "stat_rmad": np.abs(inner - inner.mean()).mean() if len(inner) else 0.0,
        "stat_medad": np.abs(x - median).mean(),
        "stat_cov": np.sqrt(variance) / mean if mean != 0 else 0.0,
        "stat_qcod": (p75 - p25) / (p75 + p25) if p75 + p25 != 0 else 0.0,
        "stat_energy": squares,
        "stat_rms": np.sqrt(squares / len(x)),
    }
    return {name: float(value) for name, value in values.items()}


def intensity_histogram(levels: np.ndarray) -> dict[str, float]:
    """Shape of the histogram of grey levels (voxels,), IBSI 3.4: what the statistics do not say.

    Gradients are over the levels from the lowest to the highest present, and 0 of a single one.
    """
    lowest = int(levels.min())
    counts = np.bincount(levels - lowest).astype(np.float64)
    p = counts[counts > 0] / counts.sum()
    gradient = np.gradient(counts) if len(counts) > 1 else np.zeros(1)
    return {
        "ih_mode": float(counts.argmax() + lowest),
        "ih_entropy": float(-(p * np.log2(p)).sum()) + 0.0,
        "ih_uniformity": float((p**2).sum()),
        "ih_max_grad": float(gradient.max()),
        "ih_max_grad_g": float(gradient.argmax() + lowest),
        "ih_min_grad": float(gradient.min()),
        "ih_min_grad_g": float(gradient.argmin() + lowest),
    }
