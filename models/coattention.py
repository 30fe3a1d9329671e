"""Genomic-guided co-attention: what each group of genes sees in a bag of patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CoAttention(nn.Module):
    """Attention of one head from genes to patches (Chen et al. 2021, section 3).

    Keys and numbers are those of `nn.MultiheadAttention` with one head, but a bag's keys and values
    are never formed: each is linear in the patches and there are only six queries, so that its
    matrix can go to the other side. That spares two products of the whole bag and their memory.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, genes: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """What each gene group sees in the bag, and its scores before the softmax.

        Args:
            genes: float (groups, dim).
            patches: float (patches, dim).

        Returns:
            float (groups, dim) and float (groups, patches).
        """
        to_query, to_key, to_value = self.in_proj_weight.chunk(3)  # each (dim, dim)
        query_bias, key_bias, value_bias = self.in_proj_bias.chunk(3)  # each (dim,)
        query = F.linear(genes, to_query, query_bias) / math.sqrt(genes.shape[-1])  # (groups, dim)
        scores = (query @ to_key) @ patches.T + (query @ key_bias)[:, None]  # (groups, patches)
        seen = scores.softmax(dim=-1) @ patches  # (groups, dim)
        # The weights of a group sum to 1, so that the bias of the values comes through unchanged.
        return self.out_proj(F.linear(seen, to_value, value_bias)), scores
