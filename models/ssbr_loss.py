"""The loss of the body-part regressor: slices in order, and evenly far apart."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def ssbr_loss(scores: Tensor) -> Tensor:
    """Sum of `order_loss` and `distance_loss` (Yan et al., ISBI 2018), a scalar.

    Args:
        scores: float (groups, slices), each group equidistant slices of one CT from the head down.
    """
    return order_loss(scores) + distance_loss(scores)


def order_loss(scores: Tensor) -> Tensor:
    """Mean cross-entropy of each slice lying below the one before it.

    As in CADLab's `compare_layer.py` the difference enters a softmax of two columns with either
    sign, which doubles the slope of the paper's sigmoid.

    Raises:
        ValueError: `scores` is not (groups, slices) with at least two slices.
    """
    _check(scores, slices=2)
    return -F.logsigmoid(2.0 * scores.diff(dim=1)).mean()


def distance_loss(scores: Tensor) -> Tensor:
    """Mean smooth-L1 of the second differences: neighbours are equally far apart.

    Raises:
        ValueError: `scores` is not (groups, slices) with at least three slices.
    """
    _check(scores, slices=3)
    unevenness = scores.diff(n=2, dim=1)  # (groups, slices - 2)
    return F.smooth_l1_loss(unevenness, unevenness.new_zeros(unevenness.shape))


def _check(scores: Tensor, slices: int) -> None:
    if scores.ndim != 2 or scores.shape[1] < slices:
        shape = tuple(scores.shape)
        raise ValueError(f"expected scores (groups, slices) of at least {slices}, got {shape}")
