"""Maps of any number of axes cut into windows, and who may look at whom within one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod

import torch
from torch import Tensor

Sides = tuple[int, ...]
MASKED = -100.0  # added to the score of tokens that were no neighbours before the shift


def fitting(
    sides: Sequence[int], window: Sequence[int], shift: Sequence[int]
) -> tuple[Sides, Sides]:
    """Window and shift for a map; along axes no longer than the window, all of it is one window."""
    fits = [side <= length for side, length in zip(sides, window, strict=True)]
    windows = tuple(map(min, sides, window))
    return windows, tuple(0 if fit else step for step, fit in zip(shift, fits, strict=True))


def partition(features: Tensor, window: Sequence[int]) -> Tensor:
    """Tokens of each window, (batch, windows, tokens, dim).

    Args:
        features: (batch, *sides, dim); each side is a multiple of the window's.
        window: sides of a window.
    """
    axes = len(window)
    pairs = [
        (side // length, length) for side, length in zip(features.shape[1:-1], window, strict=True)
    ]
    cut = features.reshape(len(features), *chain(*pairs), features.shape[-1])
    # (batch, count, length, count, length, ..., dim) -> (batch, *counts, *lengths, dim)
    order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
    return cut.permute(order).reshape(len(features), -1, prod(window), features.shape[-1])


def join(windows: Tensor, window: Sequence[int], sides: Sequence[int]) -> Tensor:
    """The map that `partition` cut, (batch, *sides, dim), from (batch, windows, tokens, dim)."""
    axes = len(window)
    counts = [side // length for side, length in zip(sides, window, strict=True)]
    cut = windows.reshape(len(windows), *counts, *window, windows.shape[-1])
    order = [0, *chain(*((1 + i, 1 + axes + i) for i in range(axes))), 2 * axes + 1]
    return cut.permute(order).reshape(len(windows), *sides, windows.shape[-1])


def shift_mask(
    sides: Sequence[int], window: Sequence[int], shift: Sequence[int], device: torch.device
) -> Tensor:
    """0 between tokens of one region of a shifted map and `MASKED` between those of two.

    The shift brings the near end of each axis behind its far end, into windows where both lie side
    by side (Liu et al. 2021, figure 4).

    Returns:
        float32 (windows, tokens, tokens).
    """
    region = torch.zeros(1, *sides, 1, dtype=torch.int64, device=device)
    for axis, (side, length, step) in enumerate(zip(sides, window, shift, strict=True), start=1):
        place = torch.arange(side, device=device)
        part = (place >= side - length).long() + (place >= side - step).long()  # 0, 1, 2
        if step:
            region = 3 * region + part.reshape([-1 if i == axis else 1 for i in range(region.ndim)])
    tokens = partition(region, window)[0, :, :, 0]  # (windows, tokens)
    return MASKED * (tokens[:, :, None] != tokens[:, None, :]).float()


def relative_positions(window: Sequence[int]) -> Tensor:
    """Where in a table of all offsets that of two tokens stands, int64 (tokens, tokens).

    The table has product(2 length - 1) rows, the last axis the fastest.
    """
    places = torch.cartesian_prod(*(torch.arange(length) for length in window))  # (tokens, axes)
    index = torch.zeros(len(places), len(places), dtype=torch.int64)
    for axis, length in enumerate(window):
        offset = places[:, None, axis] - places[None, :, axis] + length - 1  # from 0 on
        index = index * (2 * length - 1) + offset
    return index
