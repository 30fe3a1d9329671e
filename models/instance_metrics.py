"""How well predicted nuclei match the true ones, as label maps: Dice, AJI and panoptic quality."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array, hstack
from scipy.sparse.csgraph import min_weight_full_bipartite_matching


@dataclass(frozen=True)
class InstanceScores:
    """Scores of one pair of label maps, each in [0, 1], the higher the better.

    `dice`: of nucleus against background.
    `aji`: aggregated Jaccard index (Kumar et al. 2017): each true nucleus with the prediction that
        fits it best, which may serve several.
    `aji_plus`: the same with each prediction serving once, at the best total.
    `dq`: detection quality, the F1 of matched nuclei; `precision` and `recall` are its parts.
    `sq`: mean intersection over union of the matched; `pq` = `dq` * `sq`, panoptic quality
        (Kirillov et al. 2019, section 4.1).
    `ensemble_dice`: Dice over all pairs that share a pixel (Vu et al. 2019), a nucleus counting
        once a pair.
    """

    dice: float
    aji: float
    dq: float
    sq: float
    pq: float
    aji_plus: float
    ensemble_dice: float
    precision: float
    recall: float


@dataclass(frozen=True)
class _Overlaps:
    """Areas in pixels, (true,) and (predicted,); the pairs that share pixels, (pairs,) each."""

    true_px: np.ndarray
    predicted_px: np.ndarray
    true: np.ndarray  # index of the pair's nucleus
    predicted: np.ndarray
    shared_px: np.ndarray

    @property
    def union_px(self) -> np.ndarray:
        return self.true_px[self.true] + self.predicted_px[self.predicted] - self.shared_px

    @property
    def iou(self) -> np.ndarray:
        return self.shared_px / self.union_px


def instance_scores(
    truth: np.ndarray, predicted: np.ndarray, match_iou: float = 0.5
) -> InstanceScores:
    """Scores of predicted nuclei; all are 1 where both maps are empty, 0 where one is.

    Args:
        truth: label map, integers (H, W), 0 background; other numbers as they come.
        predicted: label map of the same shape.
        match_iou: intersection over union above which a pair matches, in [0.5, 1): from 0.5 on no
            nucleus can be in two such pairs.

    Raises:
        ValueError: the maps differ in shape, or `match_iou` is out of its range.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"expected maps of one shape, got {truth.shape} and {predicted.shape}")
    if not 0.5 <= match_iou < 1.0:
        raise ValueError(f"match_iou must be in [0.5, 1), got {match_iou}")
    pairs = _overlaps(truth, predicted)
    if len(pairs.true_px) + len(pairs.predicted_px) == 0:
        return _everywhere(1.0)
    if len(pairs.shared_px) == 0:
        return _everywhere(0.0)
    iou = pairs.iou
    matched = iou > match_iou
    count = int(np.count_nonzero(matched))
    dq = 2.0 * count / (len(pairs.true_px) + len(pairs.predicted_px))
    sq = float(iou[matched].mean()) if count else 0.0
    nucleus_px = pairs.true_px.sum() + pairs.predicted_px.sum()
    paired_px = (pairs.true_px[pairs.true] + pairs.predicted_px[pairs.predicted]).sum()
    return InstanceScores(
        dice=float(2.0 * pairs.shared_px.sum() / nucleus_px),
        aji=_jaccard(pairs, _best_of_each_true(pairs)),
        dq=dq,
        sq=sq,
        pq=dq * sq,
        aji_plus=_jaccard(pairs, _best_one_to_one(pairs)),
        ensemble_dice=float(2.0 * pairs.shared_px.sum() / paired_px),
        precision=count / len(pairs.predicted_px),
        recall=count / len(pairs.true_px),
    )


def _everywhere(score: float) -> InstanceScores:
    return InstanceScores(*[score] * len(fields(InstanceScores)))


def _overlaps(truth: np.ndarray, predicted: np.ndarray) -> _Overlaps:
    true_index, true_px = _ranked(truth)
    predicted_index, predicted_px = _ranked(predicted)
    shared = (
        coo_array(
            (np.ones(truth.size, dtype=np.int64), (true_index, predicted_index)),
            shape=(len(true_px), len(predicted_px)),
        )
        .tocsr()[1:, 1:]
        .tocoo()
    )  # adds up what falls on one pair
    return _Overlaps(true_px[1:], predicted_px[1:], shared.row, shared.col, shared.data)


def _ranked(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's nucleus by its rank from 1, int64 of one dimension, and the area of each rank.

    Rank 0 is background, whether there is any or not.
    """
    ids, ranks = np.unique(labels, return_inverse=True)
    ranks = ranks.reshape(-1).astype(np.int64) + (0 if 0 in ids else 1)
    return ranks, np.bincount(ranks, minlength=1)


def _jaccard(pairs: _Overlaps, chosen: np.ndarray) -> float:
    """Shared pixels of the chosen pairs over their union and all nuclei that are in none."""
    left_out_px = (
        np.delete(pairs.true_px, pairs.true[chosen]).sum()
        + np.delete(pairs.predicted_px, pairs.predicted[chosen]).sum()
    )
    return float(pairs.shared_px[chosen].sum() / (pairs.union_px[chosen].sum() + left_out_px))


def _best_of_each_true(pairs: _Overlaps) -> np.ndarray:
    """Index of the best pair of each true nucleus that has any, the first of equals."""
    order = np.lexsort((pairs.predicted, -pairs.iou, pairs.true))
    _, first = np.unique(pairs.true[order], return_index=True)
    return order[first]


def _best_one_to_one(pairs: _Overlaps) -> np.ndarray:
    """Index of the pairs that use each nucleus at most once, at the largest total of overlap."""
    n_true, n_predicted = len(pairs.true_px), len(pairs.predicted_px)
    # A partner of its own for each true nucleus, at no overlap, so that a full matching exists.
    cost = csr_array((2.0 - pairs.iou, (pairs.true, pairs.predicted)), (n_true, n_predicted))
    alone = diags_array(np.full(n_true, 2.0), format="csr")
    true, partner = min_weight_full_bipartite_matching(hstack([cost, alone], format="csr"))
    partner_of = np.empty(n_true, dtype=np.int64)
    partner_of[true] = partner
    return np.flatnonzero(partner_of[pairs.true] == pairs.predicted)
