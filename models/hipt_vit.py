"""The vision transformer that both levels of HIPT share.

Dosovitskiy et al. 2021, section 3.1, in the shape of DINO (Caron et al. 2021).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 14  # tokens a side of the learned positions: both levels are built for 14 x 14
MLP_RATIO = 4
NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attended tokens, of the shape of `tokens`: (batch, tokens, dim)."""
        mixed = F.scaled_dot_product_attention(*self._heads(tokens))  # (batch, heads, tokens, size)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # (batch, tokens, dim)

    def weights(self, tokens: Tensor) -> Tensor:
        """How much each token looks at each, in rows of sum 1: (batch, heads, tokens, tokens)."""
        query, key, _ = self._heads(tokens)
        scale = query.shape[-1] ** -0.5
        return (query @ key.transpose(-2, -1) * scale).softmax(dim=-1)

    def _heads(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values of each head, (3, batch, heads, tokens, size)."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))  # (batch, tokens, 3, heads, size)
        return qkv.permute(2, 0, 3, 1, 4)


class Block(nn.Module):
    """Attention, then a perceptron, each after its norm and added to what came in."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        layers = OrderedDict(
            fc1=nn.Linear(dim, MLP_RATIO * dim), act=nn.GELU(), fc2=nn.Linear(MLP_RATIO * dim, dim)
        )
        self.mlp = nn.Sequential(layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape, (batch, tokens, dim)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))

    def attention(self, tokens: Tensor) -> Tensor:
        """The block's attention weights, (batch, heads, tokens, tokens)."""
        return self.attn.weights(self.norm1(tokens))


class HiptTransformer(nn.Module):
    """A class token and a grid of tokens with learned positions, through blocks and a norm.

    What turns an input into the grid is the one thing in which the levels differ: `embedding` is
    that module, by the name which it has in the published keys, where it stands before the blocks.
    """

    def __init__(self, dim: int, depth: int, heads: int, **embedding: nn.Module) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID**2, dim))
        for name, module in embedding.items():
            self.add_module(name, module)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.apply(_initialise)
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def grid(self, inputs: Tensor) -> Tensor:
        """The tokens of the inputs before positions are added, (batch, dim, rows, columns)."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        """The class token of each input after the last norm, (batch, dim)."""
        return self.tokens(inputs)[:, 0]

    def tokens(self, inputs: Tensor) -> Tensor:
        """Class token, then the grid's by rows, after the last norm: (batch, 1 + grid, dim)."""
        tokens = self._embed(inputs)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def last_attention(self, inputs: Tensor) -> Tensor:
        """Attention weights of the last block, (batch, heads, 1 + grid, 1 + grid).

        Row 0 says how much the class token looks at each token: the published heat maps.
        """
        tokens = self._embed(inputs)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return cast(Block, self.blocks[-1]).attention(tokens)

    def _embed(self, inputs: Tensor) -> Tensor:
        grid = self.grid(inputs)  # (batch, dim, rows, columns)
        tokens = grid.flatten(2).transpose(1, 2)  # (batch, rows x columns, dim)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens + interpolate_positions(self.pos_embed, *grid.shape[2:])


def interpolate_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Positions learned on a 14 x 14 grid, for another grid: (1, 1 + rows x columns, dim).

    Args:
        positions: of the class token, which keeps its own, and of the grid: (1, 1 + 196, dim).
        rows: of the grid wanted.
        columns: of the grid wanted.
    """
    if (rows, columns) == (GRID, GRID):
        return positions
    learned = positions[:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))  # (1, dim, 14, 14)
    # The reference adds 0.1 so that the size does not round down. Bicubic sampling goes by the
    # scale, not by the size that results, so that 16.1 / 14 gives other numbers than 16 / 14.
    scale = ((rows + 0.1) / GRID, (columns + 0.1) / GRID)
    grid = F.interpolate(learned, scale_factor=scale, mode="bicubic")  # (1, dim, rows, columns)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
