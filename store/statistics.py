"""Mean and squared deviations of vectors, gathered by commit and merged over the visible ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VectorStatistics:
    """Row count, mean (dim,) and sum of squared deviations from it (dim,), in float64."""

    rows: int
    mean: np.ndarray
    squared_deviations: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation (dim,) over the rows (by n); 1 where it is 0, to divide by."""
        deviation = np.sqrt(self.squared_deviations / max(self.rows, 1))
        # A constant column keeps a rest of rounding, which must not be blown up to unit deviation.
        is_constant = deviation <= 1e-9 * np.maximum(np.abs(self.mean), 1e-12)
        return np.where(is_constant, 1.0, deviation)


def describe_vectors(vectors: np.ndarray) -> VectorStatistics:
    """Statistics of the rows of `vectors` (n, dim)."""
    if len(vectors) == 0:
        zeros = np.zeros(vectors.shape[1])
        return VectorStatistics(0, zeros, zeros)
    mean = vectors.mean(axis=0, dtype=np.float64)
    return VectorStatistics(len(vectors), mean, ((vectors - mean) ** 2).sum(axis=0))


def merge_statistics(parts: Iterable[VectorStatistics]) -> VectorStatistics:
    """Statistics of all parts' rows together (Chan, Golub and LeVeque 1983, equation 2.1).

    Raises:
        ValueError: there are no parts.
    """
    merged: VectorStatistics | None = None
    for part in parts:
        merged = part if merged is None else _merge(merged, part)
    if merged is None:
        raise ValueError("no statistics to merge")
    return merged


def _merge(a: VectorStatistics, b: VectorStatistics) -> VectorStatistics:
    rows = a.rows + b.rows
    if rows == 0:
        return a
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.rows / rows)
    squared = a.squared_deviations + b.squared_deviations + delta**2 * (a.rows * b.rows / rows)
    return VectorStatistics(rows, mean, squared)
