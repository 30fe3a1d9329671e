"""IBSI's Moran's I and Geary's C of a region: how alike near voxels are."""

from __future__ import annotations

import numpy as np
from scipy.fft import next_fast_len, rfftn


def spatial_autocorrelation(
    image: np.ndarray, mask: np.ndarray, spacing_mm: np.ndarray
) -> dict[str, float]:
    """Moran's I and Geary's C over all pairs of voxels, weighted by 1 / distance in mm.

    Exact, though the pairs are never listed: a sum over pairs whose weight is a function of their
    offset is a convolution, and so a sum over frequencies (IBSI reference manual 3.1.21 and 3.1.22
    name only sampling as a way out of the number of pairs). Of constant intensities or a single
    voxel both are those of no correlation, I = 0 and C = 1.

    Args:
        image: intensities (z, y, x).
        mask: bool (z, y, x), not empty.
        spacing_mm: (z, y, x).
    """
    box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(mask))
    mask = mask[box]
    intensities = image[box][mask].astype(np.float64)
    count, deviation = len(intensities), intensities.std()
    if deviation == 0:
        return {"morph_moran_i": 0.0, "morph_geary_c": 1.0}
    # Of unit variance, so that single precision is enough; it halves the time.
    standardised = np.zeros(mask.shape, dtype=np.float32)
    standardised[mask] = (intensities - intensities.mean()) / deviation
    shape = [next_fast_len(2 * length - 1, real=True) for length in mask.shape]
    weight = rfftn(_inverse_distance(shape, spacing_mm)).real.copy()  # the kernel is even
    # Half the spectrum stands for all of it: what has a mirror image counts twice.
    weight[..., 1 : (shape[-1] + 1) // 2] *= 2
    spectrum = rfftn(standardised, s=shape)
    products = _pair_sum(spectrum, spectrum, weight)
    inside = rfftn(mask.astype(np.float32), s=shape)
    weights = _pair_sum(inside, inside, weight)
    spectrum = rfftn(standardised**2, s=shape)
    differences = 2 * _pair_sum(spectrum, inside, weight) - 2 * products
    return {
        "morph_moran_i": products / weights,
        "morph_geary_c": (count - 1) / count * differences / (2 * weights),
    }


def _pair_sum(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> float:
    """Sum over pairs of voxels of weight x one x other, up to a factor, from spectra (Parseval)."""
    product = one.real * other.real
    product += one.imag * other.imag
    product *= weight
    return float(product.sum(dtype=np.float64))


def _inverse_distance(shape: list[int], spacing_mm: np.ndarray) -> np.ndarray:
    """1 / distance in mm of every offset, wrapped around, 0 at no offset; float32 of this shape."""
    squares = [
        (np.minimum(np.arange(n), n - np.arange(n)) * mm) ** 2
        for n, mm in zip(shape, spacing_mm, strict=True)
    ]
    squared = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    squared[0, 0, 0] = np.inf
    return (1 / np.sqrt(squared)).astype(np.float32)
