"""The vision transformer that RadNet may take in place of ResNet-50, one slice at a time.

Source: qiaoyu-zheng/RP3D-Diag@7bdbbbb, RP3D_Demo/Model/vit2D.py; no weights of it are published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SliceViTConfig:
    """Sizes as in the reference; `image_px` is the side of a slice."""

    image_px: int = 256
    patch_px: int = 8
    width: int = 2048
    layers: int = 12
    heads: int = 8
    feed_forward: int = 2048
    dropout: float = 0.1


class SliceViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021, section 3.1) with learned rows and columns.

    Raises:
        ValueError: `image_px` is not a multiple of `patch_px`, or `width` is odd.
    """

    def __init__(self, config: SliceViTConfig, features: int) -> None:
        super().__init__()
        if config.image_px % config.patch_px or config.width % 2:
            raise ValueError(f"expected whole patches and an even width, got {config}")
        side, width = config.image_px // config.patch_px, config.width
        self.patches = nn.PixelUnshuffle(config.patch_px)
        self.embed = nn.Sequential(
            nn.LayerNorm(config.patch_px**2),
            nn.Linear(config.patch_px**2, width),
            nn.LayerNorm(width),
        )
        self.row_position = nn.Parameter(torch.rand(side, 1, width // 2))
        self.column_position = nn.Parameter(torch.rand(1, side, width // 2))
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            config.feed_forward,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.project = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, features))

    def forward(self, slices: Tensor) -> Tensor:
        """Features of slices.

        Args:
            slices: values in [0, 1], (n, image_px, image_px).

        Returns:
            (n, features).
        """
        tokens = self.patches(slices[:, None]).permute(0, 2, 3, 1)  # (n, rows, columns, patch_px^2)
        rows, columns = tokens.shape[1:3]
        position = torch.cat(
            [self.row_position.expand(-1, columns, -1), self.column_position.expand(rows, -1, -1)],
            dim=-1,
        )  # (rows, columns, width)
        tokens = (self.embed(tokens) + position).flatten(1, 2)  # (n, rows x columns, width)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.project(self.transformer(self.dropout(tokens))[:, 0])
