"""Columns of features in deviations from their means, as they are in a training set."""

from __future__ import annotations

import numpy as np


def column_statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of what is there, the latter infinite (making 0) where nothing varies."""
    present = np.isfinite(features)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, features, 0.0).sum(axis=0) / counts
    sd = np.sqrt((np.where(present, features - mean, 0.0) ** 2).sum(axis=0) / counts)
    is_constant = sd <= 1e-9 * np.maximum(np.abs(mean), 1e-9)
    return mean, np.where(is_constant, np.inf, sd)


def standardise(features: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Features in deviations from the mean, 0 where missing, float64."""
    return np.where(np.isfinite(features), (features - mean) / sd, 0.0)
