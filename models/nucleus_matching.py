"""How well predicted nuclei match the true ones: F1 at an intersection over union."""

from __future__ import annotations

import numpy as np


def match_f1(
    truth: np.ndarray, predicted: np.ndarray, iou: float = 0.5
) -> tuple[float, float, float]:
    """F1, precision and recall of predicted nuclei, each in [0, 1].

    A pair matches if its intersection over union is above `iou`; from 0.5 on no nucleus can be in
    two such pairs (Kirillov et al. 2019, Panoptic Segmentation, section 4.1). Where both maps are
    empty all three are 1.

    Args:
        truth: label map, integers (H, W), 0 background.
        predicted: label map of the same shape.
        iou: in [0.5, 1).

    Raises:
        ValueError: the maps differ in shape, or `iou` is below 0.5.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"expected maps of one shape, got {truth.shape} and {predicted.shape}")
    if not 0.5 <= iou < 1.0:
        raise ValueError(f"iou must be in [0.5, 1), got {iou}")
    true_index, true_area = _ranked(truth)
    predicted_index, predicted_area = _ranked(predicted)
    n_true, n_predicted = len(true_area) - 1, len(predicted_area) - 1
    if n_true == 0 and n_predicted == 0:
        return 1.0, 1.0, 1.0
    pairs, overlap = np.unique(
        true_index * len(predicted_area) + predicted_index, return_counts=True
    )
    i, j = np.divmod(pairs, len(predicted_area))
    is_nucleus = (i > 0) & (j > 0)
    union = true_area[i] + predicted_area[j] - overlap
    matched = int(np.count_nonzero(is_nucleus & (overlap > iou * union)))
    return (
        2.0 * matched / (n_true + n_predicted),
        matched / n_predicted if n_predicted else 0.0,
        matched / n_true if n_true else 0.0,
    )


def _ranked(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's nucleus by its rank from 1, int64 of one dimension, and the area of each rank.

    Rank 0 is background, whether there is any or not.
    """
    ids, ranks = np.unique(labels, return_inverse=True)
    ranks = ranks.reshape(-1).astype(np.int64) + (0 if 0 in ids else 1)
    return ranks, np.bincount(ranks, minlength=1)
