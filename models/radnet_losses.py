"""The losses of RadNet: multi-label classification, and attention to the slice that shows it.

Source: qiaoyu-zheng/RP3D-Diag@7bdbbbb, RP3D_Demo/Loss/AllLosses.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOGIT_LIMIT = 60.0
KEY_SLICE_SIGMA = 2.0  # slices
LEAST_SHARE = 1e-5
ATTENTION_WEIGHT = 0.001


def multi_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits clamped to +-60, and labels 0 or 1, both (n, classes)."""
    return F.binary_cross_entropy_with_logits(_clamped(logits), labels)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0, alpha: float = 0.9) -> Tensor:
    """Mean focal loss (Lin et al. 2017, equation 5) of clamped logits; `alpha` weighs positives."""
    cross_entropy = F.binary_cross_entropy_with_logits(_clamped(logits), labels, reduction="none")
    weight = labels * alpha + (1 - labels) * (1 - alpha)
    return (weight * (1 - torch.exp(-cross_entropy)) ** gamma * cross_entropy).mean()


def ldam_loss(
    logits: Tensor, labels: Tensor, class_counts: Tensor, max_margin: float = 0.5
) -> Tensor:
    """Binary cross-entropy with a margin that is the larger, the rarer the class.

    The margin of class j, C / n_j^(1/4) (Cao et al. 2019, equation 10), is taken off its positive
    logits. The reference names no form for many labels; there, as here, each class is a binary
    problem of its own.

    Args:
        logits: (n, classes).
        labels: 0 or 1, (n, classes).
        class_counts: positives of each class in the training set, at least 1, (classes,).
        max_margin: of the rarest class.
    """
    margin = class_counts.to(logits.dtype) ** -0.25
    margin = margin * (max_margin / margin.max())
    return multi_label_loss(logits - margin * labels, labels)


def key_slice_target(key_slice: Tensor, slices: Tensor, length: int) -> Tensor:
    """A Gaussian around each scan's key slice over its real slices, (scans, length), rows sum to 1.

    Args:
        key_slice: index, (scans,).
        slices: how many are real, at least 1, (scans,).
        length: of the scans with their padding.
    """
    index = torch.arange(length, device=key_slice.device)
    exponent = -0.5 * ((index - key_slice[:, None]) / KEY_SLICE_SIGMA) ** 2
    # By the softmax, since far from the key slice all of the exponentials would underflow.
    return exponent.masked_fill(index >= slices[:, None], -torch.inf).softmax(dim=1)


def slice_attention_loss(scores: Tensor, key_slice: Tensor, slices: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence of attention over slices and `key_slice_target`.

    Args:
        scores: before the softmax, -1e9 at padded slices, (scans, slices).
        key_slice: index, (scans,).
        slices: how many are real, at least 1, (scans,).
    """
    target = key_slice_target(key_slice, slices, scores.shape[1]).clamp(min=LEAST_SHARE)
    attention = scores.softmax(dim=1).clamp(min=LEAST_SHARE)
    forward = F.kl_div(attention.log(), target, reduction="batchmean")
    backward = F.kl_div(target.log(), attention, reduction="batchmean")
    return (forward + backward) / 2


def early_fusion_loss(
    logits: Tensor, labels: Tensor, slice_scores: Tensor, key_slice: Tensor, marks: Tensor
) -> Tensor:
    """Classification, and a thousandth of attention to the key slices of the scans there are.

    Late fusion as published is trained by `multi_label_loss` alone.

    Args:
        logits: (cases, classes).
        labels: 0 or 1, (cases, classes).
        slice_scores: of `RadNetOutput`, (cases, scans, slices).
        key_slice: index, anything for padding, (cases, scans).
        marks: which slices are real, bool (cases, scans, slices).
    """
    slices = marks.sum(dim=2)  # (cases, scans)
    is_real = slices > 0
    attention = slice_attention_loss(slice_scores[is_real], key_slice[is_real], slices[is_real])
    return multi_label_loss(logits, labels) + ATTENTION_WEIGHT * attention


def _clamped(logits: Tensor) -> Tensor:
    return logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
