"""Swin transformer over maps of two or three axes (Liu et al. 2021), as the encoder of Swin UNETR.

Keys and arithmetic are those of MONAI 0.9 (Hatamizadeh et al. 2022), with a window for each stage
as in SMuRF.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tumorbase.models.windows import Sides, fitting, join, partition, relative_positions, shift_mask

MLP_RATIO = 4
CONVOLUTION: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
# Neighbours that become one token, by number of axes, in the order of their features. In three,
# MONAI 0.9 takes (0, 1, 0) and (0, 0, 1) twice and leaves two out; weights depend on it.
MERGED = {
    2: ((0, 0), (1, 0), (0, 1), (1, 1)),
    3: (
        *((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        *((1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)),
    ),
}


@dataclass(frozen=True)
class SwinConfig:
    """Sizes of a Swin transformer; `depths`, `heads` and `windows` are of each stage.

    A map has as many axes as a patch. The first stage is `dim` wide, each next one twice as wide.
    """

    in_channels: int
    dim: int
    patch: Sides
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[Sides, ...]


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, by content and offset (section 3.2, equation 4)."""

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window: Sides) -> None:
        super().__init__()
        self.heads = heads
        offsets = prod(2 * length - 1 for length in window)
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_positions(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attended tokens, of the shape of `windows`.

        Args:
            windows: (batch, windows, tokens, dim); tokens may be fewer than the window has.
            mask: added to the scores, (windows, tokens, tokens).
        """
        count = windows.shape[2]
        # Of a window cut short on another axis than the first, these are not its tokens' offsets.
        # So it is in MONAI, whose weights are trained with it.
        index = self.relative_position_index[:count, :count]
        bias = self.relative_position_bias_table[index]  # (tokens, tokens, heads)
        bias = bias.permute(2, 0, 1)[None]  # (1, heads, tokens, tokens)
        if mask is not None:
            bias = bias + mask[:, None]  # (windows, heads, tokens, tokens)
            bias = bias.repeat(len(windows), 1, 1, 1)  # (batch x windows, heads, tokens, tokens)
        # Windows and batch are one axis: with two of them, torch has no fused attention.
        qkv = self.qkv(windows.flatten(0, 1)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (batch x windows, heads, tokens, size)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(2)  # (batch x windows, tokens, dim)
        return self.proj(mixed).unflatten(0, windows.shape[:2])


class SwinBlock(nn.Module):
    """Attention within windows, then a perceptron, each after its norm and added to its input."""

    def __init__(self, dim: int, heads: int, window: Sides, shift: Sides) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        layers = OrderedDict(
            linear1=nn.Linear(dim, MLP_RATIO * dim),
            act=nn.GELU(),
            linear2=nn.Linear(MLP_RATIO * dim, dim),
        )
        self.mlp = nn.Sequential(layers)

    def forward(self, features: Tensor) -> Tensor:
        """A map of the same shape, (batch, *sides, dim)."""
        features = features + self._attend(self.norm1(features))
        return features + self.mlp(self.norm2(features))

    def _attend(self, features: Tensor) -> Tensor:
        sides = features.shape[1:-1]
        window, shift = fitting(sides, self.window, self.shift)
        features = _pad_to_multiple(features, window)  # (batch, *padded sides, dim)
        padded, axes = features.shape[1:-1], tuple(range(1, features.ndim - 1))
        mask = None
        if any(shift):
            features = features.roll([-step for step in shift], axes)
            mask = shift_mask(padded, window, shift, features.device).to(features.dtype)
        attended = self.attn(partition(features, window), mask)
        features = join(attended, window, padded)  # (batch, *padded sides, dim)
        if any(shift):
            features = features.roll(shift, axes)
        return features[(slice(None), *(slice(side) for side in sides))]


class PatchMerging(nn.Module):
    """Half as many tokens along each axis, twice as wide (section 3.1)."""

    def __init__(self, dim: int, axes: int) -> None:
        super().__init__()
        self.merged = MERGED[axes]
        self.reduction = nn.Linear(len(self.merged) * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(len(self.merged) * dim)

    def forward(self, features: Tensor) -> Tensor:
        """A map (batch, *half sides, 2 dim) of one (batch, *sides, dim); odd sides get zeros."""
        features = _pad_to_multiple(features, (2,) * (features.ndim - 2))
        neighbours = [
            features[(slice(None), *(slice(start, None, 2) for start in starts))]
            for starts in self.merged
        ]
        return self.reduction(self.norm(torch.cat(neighbours, dim=-1)))


class SwinStage(nn.Module):
    """Blocks, every second of them with shifted windows, and the merging that ends each stage."""

    def __init__(self, dim: int, depth: int, heads: int, window: Sides) -> None:
        super().__init__()
        unshifted, shifted = (0,) * len(window), tuple(length // 2 for length in window)
        self.blocks = nn.Sequential(
            *(SwinBlock(dim, heads, window, shifted if i % 2 else unshifted) for i in range(depth))
        )
        self.downsample = PatchMerging(dim, len(window))

    def forward(self, features: Tensor) -> Tensor:
        """A map (batch, *half sides, 2 dim) of one (batch, *sides, dim)."""
        return self.downsample(self.blocks(features))


class SwinTransformer(nn.Module):
    """Patches through up to four stages, of which each halves the map and doubles its width."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch = config.patch
        convolution = CONVOLUTION[len(config.patch)](
            config.in_channels, config.dim, kernel_size=config.patch, stride=config.patch
        )
        self.patch_embed = nn.Sequential(OrderedDict(proj=convolution))
        stages = zip(config.depths, config.heads, config.windows, strict=True)
        for number, (depth, heads, window) in enumerate(stages, start=1):
            stage = SwinStage(config.dim * 2 ** (number - 1), depth, heads, window)
            self.add_module(f"layers{number}", nn.ModuleList([stage]))

    def forward(self, images: Tensor, stages: int) -> Tensor:
        """The map after the first `stages` stages, each token normalised over its channels.

        Args:
            images: (batch, in_channels, *sides); zeros at the far ends make whole patches.
            stages: how many are run.

        Returns:
            (batch, *sides / (patch 2^stages), dim 2^stages), each side rounded up.
        """
        channels_last = _pad_to_multiple(images.movedim(1, -1), self.patch)
        features = self.patch_embed(channels_last.movedim(-1, 1)).movedim(1, -1)
        for number in range(1, stages + 1):
            features = self.get_submodule(f"layers{number}.0")(features)
        return F.layer_norm(features, features.shape[-1:])


def _pad_to_multiple(features: Tensor, of: Sequence[int]) -> Tensor:
    """(batch, *sides, dim) with zeros at the far ends, so that sides are multiples of `of`."""
    lacking = [-side % length for side, length in zip(features.shape[1:-1], of, strict=True)]
    if not any(lacking):
        return features
    # F.pad counts the axes from the last one on, which holds the channels.
    return F.pad(features, [0, 0, *(amount for end in reversed(lacking) for amount in (0, end))])
