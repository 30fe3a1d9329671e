"""Gated outer product of two vectors (Pathomic Fusion, Chen et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GATED_DIM = 32
DROPOUT = 0.25


class BilinearFusion(nn.Module):
    """One vector from the outer product of two, each gated by what both say.

    A 1 is appended to each gated vector, so that the product also holds the vectors themselves.
    """

    def __init__(self, dim: int, skip: bool = False) -> None:
        """Fusion of two vectors of `dim` to one of `dim`.

        Args:
            dim: of both vectors, and of what they become.
            skip: the last layer sees both vectors again, as in PORPOISE.
        """
        super().__init__()
        self.skip = skip
        self.linear_h1 = nn.Sequential(nn.Linear(dim, GATED_DIM), nn.ReLU())
        self.linear_z1 = nn.Sequential(nn.Linear(2 * dim, GATED_DIM))
        self.linear_o1 = _layer(GATED_DIM, GATED_DIM)
        self.linear_h2 = nn.Sequential(nn.Linear(dim, GATED_DIM), nn.ReLU())
        self.linear_z2 = nn.Sequential(nn.Linear(2 * dim, GATED_DIM))
        self.linear_o2 = _layer(GATED_DIM, GATED_DIM)
        self.dropout = nn.Dropout(DROPOUT)
        self.encoder1 = _layer((GATED_DIM + 1) ** 2, dim)
        self.encoder2 = _layer(3 * dim if skip else dim, dim)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fused vectors, float (batch, dim), of two modalities, each float (batch, dim)."""
        both = torch.cat([first, second], dim=1)  # (batch, 2 dim)
        gated_first = self.linear_o1(self.linear_z1(both).sigmoid() * self.linear_h1(first))
        gated_second = self.linear_o2(self.linear_z2(both).sigmoid() * self.linear_h2(second))
        # The ones come after the dropout of the gated vectors: they are never dropped alone.
        rows = F.pad(gated_first, (0, 1), value=1.0)  # (batch, 33)
        columns = F.pad(gated_second, (0, 1), value=1.0)  # (batch, 33)
        product = (rows[:, :, None] * columns[:, None, :]).flatten(1)  # (batch, 33 * 33)
        fused = self.encoder1(self.dropout(product))  # (batch, dim)
        if self.skip:
            fused = torch.cat([fused, both], dim=1)  # (batch, 3 dim)
        output: Tensor = self.encoder2(fused)  # (batch, dim)
        return output


def _layer(input_dim: int, output_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(input_dim, output_dim), nn.ReLU(), nn.Dropout(DROPOUT))
