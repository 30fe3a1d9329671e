"""The losses of HoVer-Net (Graham et al. 2019, section 3.1), each term of weight 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST_PROBABILITY = 1e-7
_DICE_SMOOTHING = 1e-3
_GRADIENT_REACH_PX = 2


def loss_terms(maps: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every term of the loss, scalars: the loss is their sum.

    Args:
        maps: what the network returns.
        targets: batches of `hovernet_targets.targets`, with "tp" if the maps have it.

    Returns:
        "np_bce", "np_dice", "hv_mse", "hv_msge", then "tp_bce", "tp_dice" where there are types.
    """
    terms = {
        "np_bce": cross_entropy(maps["np"], targets["np"]),
        "np_dice": dice_loss(maps["np"], targets["np"]),
        "hv_mse": F.mse_loss(maps["hv"], targets["hv"]),
        "hv_msge": gradient_loss(maps["hv"], targets["hv"], targets["np"]),
    }
    if "tp" in maps:
        terms["tp_bce"] = cross_entropy(maps["tp"], targets["tp"])
        terms["tp_dice"] = dice_loss(maps["tp"], targets["tp"])
    return terms


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of -log of the true class's probability, which counts as 1e-7 at least.

    Args:
        logits: (batch, classes, H, W).
        target: the class, int64 (batch, H, W).
    """
    probability = logits.softmax(dim=1).clamp(_LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    return F.nll_loss(probability.log(), target)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of each class over the whole batch, summed over classes: in [0, classes].

    Arguments as `cross_entropy`.
    """
    probability = logits.softmax(dim=1)
    truth = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    shared = (probability * truth).sum(dim=(0, 2, 3))  # (classes,)
    total = (probability + truth).sum(dim=(0, 2, 3))
    return (1.0 - (2.0 * shared + _DICE_SMOOTHING) / (total + _DICE_SMOOTHING)).sum()


def gradient_loss(hv: Tensor, target: Tensor, is_nucleus: Tensor) -> Tensor:
    """Mean squared error of the maps' gradients, over the pixels of nuclei and both maps.

    Args:
        hv: x and y from the middle of the nucleus, (batch, 2, H, W).
        target: of the same shape.
        is_nucleus: 1 or 0, (batch, H, W).
    """
    focus = is_nucleus[:, None].to(hv.dtype).expand_as(hv)
    kernels = _gradient_kernels().to(hv)
    # The gradient is linear, so that of the error is the error of the gradients.
    error = F.conv2d(hv - target, kernels, padding=_GRADIENT_REACH_PX, groups=2)  # (batch, 2, H, W)
    return (focus * error**2).sum() / (focus.sum() + 1e-8)


def _gradient_kernels() -> Tensor:
    """Smoothed derivatives, 5 x 5, of the x map along rows and of the y map along columns.

    As in the reference, which crosses the two, though section 3.1 has x along x and y along y.
    """
    offset = torch.arange(-_GRADIENT_REACH_PX, _GRADIENT_REACH_PX + 1, dtype=torch.float32)
    row, column = torch.meshgrid(offset, offset, indexing="ij")
    square = row**2 + column**2 + 1e-15
    return torch.stack([row / square, column / square])[:, None]  # (2, 1, 5, 5)
