"""Time in bins of equal deaths, as discrete-time survival networks are trained on."""

from __future__ import annotations

import numpy as np

_MARGIN = 1e-6  # by which the outer edges lie beyond all times; that of MCAT


def time_edges(time: np.ndarray, is_censored: np.ndarray, bins: int = 4) -> np.ndarray:
    """Edges of bins that hold equal numbers of events, float64 (bins + 1,), ascending.

    Inner edges are quantiles of the times of patients whose event was seen; the outer ones lie just
    beyond all times (Zadeh & Schmid 2020; with 4 bins as in MCAT).

    Args:
        time: to event or censoring, (patients,).
        is_censored: (patients,).
        bins: number of bins.

    Raises:
        ValueError: fewer events than bins, or too many at the same time for this number of bins.
    """
    events = time[~is_censored.astype(bool)]
    if len(events) < bins:
        raise ValueError(f"expected at least {bins} events for {bins} bins, got {len(events)}")
    edges = np.quantile(events.astype(np.float64), np.linspace(0.0, 1.0, bins + 1))
    if (np.diff(edges) <= 0).any():
        raise ValueError(f"the times of {len(events)} events are too alike for {bins} bins")
    edges[0], edges[-1] = time.min() - _MARGIN, time.max() + _MARGIN
    return edges


def time_bins(time: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each time, int64 (patients,), from 0; a bin holds its left edge.

    A time beyond the edges, as of a patient who was not there when they were set, is in the outer
    bin.

    Args:
        time: (patients,).
        edges: as of `time_edges`.
    """
    return np.searchsorted(edges[1:-1], time, side="right").astype(np.int64)


def bin_classes(bins: np.ndarray, is_censored: np.ndarray) -> np.ndarray:
    """A class for each bin with and without censoring, int64 (patients,): 2 bin + censored."""
    return 2 * bins + is_censored.astype(np.int64)


def sampling_weights(classes: np.ndarray) -> np.ndarray:
    """How often to draw each patient for all classes to be seen equally, float64 (patients,).

    The number of patients by that of the patient's class, for drawing with replacement.
    """
    _, class_of, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return len(classes) / counts[class_of].astype(np.float64)
