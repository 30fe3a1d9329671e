"""The losses of LesaNet: weighted cross-entropy, hard examples among reliable labels, triplets.

Yan et al., CVPR 2019; constants and details from rsummers11/CADLab@e6963e8:LesaNet (`my_loss.py`,
`my_algorithm.py`, `config.yml`). The reference takes the logarithm of probabilities clamped at
1e-7; from the scores it needs no clamp, and does not lose the gradient where it is needed most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F

from tumorbase.models.lesanet import LesionLabels

LARGEST_POSITIVE_WEIGHT = 300.0
HARD_EXAMPLES = 10_000
TRIPLETS = 5_000
TRIPLET_MARGIN = 0.1
TRIPLET_WEIGHT = 5.0
SIMILAR_FROM = 1.0


@dataclass(frozen=True)
class LesionTargets:
    """What is known of a batch of lesions, bool (batch, labels) each.

    `is_positive`: the report states the label. `is_uncertain`: it may, and the cross-entropy leaves
    it out. `is_excluded`: it is ruled out by another one, so that its absence is reliable. The
    reference takes labels that a report may state for positive, and their parents for uncertain.
    """

    is_positive: Tensor
    is_uncertain: Tensor
    is_excluded: Tensor


@dataclass(frozen=True)
class LabelWeights:
    """Weight of each label where it is present and where it is absent, float32 (labels,) each."""

    positive: Tensor
    negative: Tensor


def label_weights(is_positive: Tensor) -> LabelWeights:
    """Weights that give both sides of a label equal say: lesions / (2 lesions of that side).

    Args:
        is_positive: bool (lesions, labels), of all training lesions.
    """
    lesions = len(is_positive)
    positives = is_positive.sum(dim=0, dtype=torch.float32)  # (labels,)
    return LabelWeights(
        (lesions / (2 * positives)).clamp(max=LARGEST_POSITIVE_WEIGHT),
        lesions / (2 * (lesions - positives).clamp(min=1)),
    )


def lesanet_loss(
    output: LesionLabels, targets: LesionTargets, weights: LabelWeights, random: np.random.Generator
) -> Tensor:
    """The sum that LesaNet is trained with, a scalar: both scores, hard examples, 5 x triplets."""
    triplets = sample_triplets(targets.is_positive.cpu().numpy(), TRIPLETS, random)
    return (
        weighted_cross_entropy(output.scores, targets, weights)
        + weighted_cross_entropy(output.propagated_scores, targets, weights)
        + hard_example_cross_entropy(output.scores, targets, random)
        + TRIPLET_WEIGHT * triplet_loss(output.embedding, triplets)
    )


def weighted_cross_entropy(scores: Tensor, targets: LesionTargets, weights: LabelWeights) -> Tensor:
    """Mean over all lesions and labels, of which uncertain ones count 0."""
    weight = torch.where(targets.is_positive, weights.positive, weights.negative)
    weight = weight * ~targets.is_uncertain  # (batch, labels)
    return F.binary_cross_entropy_with_logits(scores, targets.is_positive.to(scores), weight)


def hard_example_cross_entropy(
    scores: Tensor, targets: LesionTargets, random: np.random.Generator
) -> Tensor:
    """Mean cross-entropy of 10,000 draws among reliable labels, the more likely the more wrong.

    Relational hard example mining: a lesion's label is drawn with probability |p - t|^2, and those
    are reliable that are stated or excluded. 0 where none is.
    """
    truth = targets.is_positive.to(scores)
    is_reliable = targets.is_positive | targets.is_excluded
    error = (scores.detach().sigmoid() - truth).abs() * is_reliable
    chance = (error**2).flatten().double().cpu().numpy()  # (batch * labels,)
    if chance.sum() == 0:
        return scores.sum() * 0.0
    drawn = random.choice(len(chance), HARD_EXAMPLES, p=chance / chance.sum())
    index = torch.from_numpy(drawn).to(scores.device)
    return F.binary_cross_entropy_with_logits(scores.flatten()[index], truth.flatten()[index])


def sample_triplets(is_positive: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Rows (anchor, positive, negative) of `is_positive`, integers (count, 3).

    Two lesions are as similar as they share labels: the labels of both times the Jaccard index. The
    positive is drawn from those of similarity 1 or more, or is the most similar one; the negative
    from those less similar than the positive, or is the least similar one.

    Raises:
        ValueError: there are fewer than three lesions.
    """
    if len(is_positive) < 3:
        raise ValueError(f"expected at least 3 lesions to draw triplets, got {len(is_positive)}")
    labels = is_positive.astype(bool)
    shared = is_positive.astype(np.float64) @ is_positive.T.astype(np.float64)
    similarity = shared * (1.0 - cdist(labels, labels, "jaccard"))  # (lesions, lesions)
    np.fill_diagonal(similarity, np.nan)
    is_similar = similarity >= SIMILAR_FROM
    lonely = ~is_similar.any(axis=1)
    is_similar[lonely, np.nanargmax(similarity[lonely], axis=1)] = True
    anchors = random.integers(len(labels), size=count)
    positives = _one_of_each_row(is_similar[anchors], random)
    to_others = similarity[anchors]  # (count, lesions)
    is_less_similar = to_others < to_others[np.arange(count), positives, None]
    even = ~is_less_similar.any(axis=1)
    is_less_similar[even, np.nanargmin(to_others[even], axis=1)] = True
    return np.stack([anchors, positives, _one_of_each_row(is_less_similar, random)], axis=1)


def triplet_loss(embedding: Tensor, triplets: np.ndarray) -> Tensor:
    """Mean of how far d(anchor, positive) + 0.1 exceeds d(anchor, negative).

    Args:
        embedding: float (batch, dim), of length 1.
        triplets: integers (count, 3), as `sample_triplets` draws them.
    """
    anchor, positive, negative = embedding[torch.from_numpy(triplets).to(embedding.device).T]
    return F.triplet_margin_loss(anchor, positive, negative, margin=TRIPLET_MARGIN)


def _one_of_each_row(is_candidate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A column of each row drawn from those that are true, at least one, integers (rows,)."""
    columns: np.ndarray = np.where(is_candidate, random.random(is_candidate.shape), -1.0).argmax(1)
    return columns
