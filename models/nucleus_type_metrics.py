"""How well nuclei are found and typed, by their centroids: the F1 of each type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

PAIRING_RADIUS_PX = 12.0  # at 0.25 um a pixel


@dataclass(frozen=True)
class TypePairs:
    """Types of the nuclei of an image: of each pair, (pairs,), and of those left alone, (n,)."""

    true: np.ndarray
    predicted: np.ndarray
    missed: np.ndarray  # true nuclei without a prediction
    spurious: np.ndarray  # predictions without a true nucleus


@dataclass(frozen=True)
class TypeScores:
    """`detection_f1` of nuclei of whatever type, and `f1` of each type, all in [0, 1]."""

    detection_f1: float
    f1: dict[int, float]


def pair_types(
    true_centroid_px: np.ndarray,
    true_type: np.ndarray,
    predicted_centroid_px: np.ndarray,
    predicted_type: np.ndarray,
) -> TypePairs:
    """The nuclei of one image paired by centroid, at the smallest total distance.

    As in the reference, pairs that lie more than `PAIRING_RADIUS_PX` apart are dissolved only after
    all have been paired, though they may have taken a nearer nucleus from another.

    Args:
        true_centroid_px: (n, 2).
        true_type: (n,).
        predicted_centroid_px: (m, 2), in the same frame.
        predicted_type: (m,).
    """
    distance_px = cdist(true_centroid_px.reshape(-1, 2), predicted_centroid_px.reshape(-1, 2))
    true, predicted = linear_sum_assignment(distance_px)
    is_near = distance_px[true, predicted] <= PAIRING_RADIUS_PX
    true, predicted = true[is_near], predicted[is_near]
    return TypePairs(
        true=true_type[true],
        predicted=predicted_type[predicted],
        missed=np.delete(true_type, true),
        spurious=np.delete(predicted_type, predicted),
    )


def type_scores(images: Sequence[TypePairs]) -> TypeScores:
    """F1 over all images together, of each type that any of their nuclei has.

    Graham et al. 2019, section 4.2: a pair of two types weighs 2 in both, a nucleus left alone 1.
    The equation's true negatives are 0, as in the reference: it counts only pairs that have the
    type, and the published figures are those counts.

    Raises:
        ValueError: there are no nuclei at all.
    """
    true, predicted, missed, spurious = (
        np.concatenate([getattr(image, name) for image in images])
        for name in ("true", "predicted", "missed", "spurious")
    )
    types = np.unique(np.concatenate([true, predicted, missed, spurious]))
    if len(types) == 0:
        raise ValueError("expected at least one nucleus, got none")
    alone = len(missed) + len(spurious)
    f1: dict[int, float] = {}
    for t in types.tolist():
        right = np.count_nonzero((true == t) & (predicted == t))
        wrong = np.count_nonzero((true == t) != (predicted == t))
        left = np.count_nonzero(missed == t) + np.count_nonzero(spurious == t)
        f1[t] = float(2 * right / (2 * right + 2 * wrong + left))
    return TypeScores(2 * len(true) / (2 * len(true) + alone), f1)
