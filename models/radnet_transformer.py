"""The transformer encoder of RadNet, with the quirks that its published weights were trained with.

Source: qiaoyu-zheng/RP3D-Diag@7bdbbbb, RP3D_Demo/Model/transformer_encoder.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

MASKED_SCORE = -1e9  # softmax makes it exactly 0 in float32
EPSILON = 1e-6


class Encoded(NamedTuple):
    """Tokens, and how the last layer's first token looked at all of them, averaged over heads."""

    tokens: Tensor  # (batch, tokens, width)
    attention: Tensor  # (batch, tokens), rows sum to 1
    scores: Tensor  # (batch, tokens), before the softmax; `MASKED_SCORE` where masked


class LayerNorm(nn.Module):
    """Layer normalisation by the unbiased deviation, with epsilon added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalised tokens, (..., width)."""
        mean = tokens.mean(dim=-1, keepdim=True)
        # nn.LayerNorm takes the biased variance, and adds epsilon under the root.
        deviation = tokens.std(dim=-1, keepdim=True)
        return self.a * (tokens - mean) / (deviation + EPSILON) + self.b


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2) that also tells its scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))  # q, k, v, out

    def forward(self, tokens: Tensor, is_real: Tensor) -> Encoded:
        """Attend to the real tokens.

        Args:
            tokens: (batch, tokens, width).
            is_real: bool (batch, tokens); others are seen by none, though they see.
        """
        to_query, to_key, to_value, to_output = self.linears
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (to_query, to_key, to_value)
        )  # (batch, heads, tokens, width / heads) each
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~is_real[:, None, None, :], MASKED_SCORE)
        attention = scores.softmax(dim=-1)  # (batch, heads, tokens, tokens)
        attended = (attention @ value).transpose(1, 2).flatten(2)  # (batch, tokens, width)
        return Encoded(
            to_output(attended), attention[:, :, 0].mean(dim=1), scores[:, :, 0].mean(dim=1)
        )


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, width)
        self.w_2 = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) to the same shape."""
        return self.w_2(self.w_1(tokens).relu())


class _Sublayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens)


class EncoderLayer(nn.Module):
    """Attention of the tokens as they come, then a feed-forward step of the normalised ones."""

    def __init__(self, width: int, attention: Attention, feed_forward: FeedForward) -> None:
        super().__init__()
        self.self_attn = attention
        self.feed_forward = feed_forward
        # The reference norms the tokens before attention too, but attends to those before the norm:
        # `sublayer.0.norm` is in its checkpoints and in no result.
        self.sublayer = nn.ModuleList(_Sublayer(width) for _ in range(2))

    def forward(self, tokens: Tensor, is_real: Tensor) -> Encoded:
        """As `Attention`."""
        attended = self.self_attn(tokens, is_real)
        tokens = tokens + attended.tokens
        return attended._replace(tokens=tokens + self.feed_forward(self.sublayer[1](tokens)))


class _Layers(nn.Module):
    def __init__(self, template: EncoderLayer, layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(template) for _ in range(layers))
        self.norm = LayerNorm(width)

    def forward(self, tokens: Tensor, is_real: Tensor) -> Encoded:
        for layer in self.layers:
            encoded = layer(tokens, is_real)
            tokens = encoded.tokens
        return encoded._replace(tokens=self.norm(tokens))


class TransformerEncoder(nn.Module):
    """Layers of attention and feed-forward, then a norm; feed-forward as wide as the tokens."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        # The layer that the others are copied from, in three places of the reference's checkpoints.
        # No result depends on it.
        self.multi_headed_attention = Attention(width, heads)
        self.feed_forward = FeedForward(width)
        self.encoder_layer = EncoderLayer(width, self.multi_headed_attention, self.feed_forward)
        self.encoder = _Layers(self.encoder_layer, layers, width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, tokens: Tensor, is_real: Tensor) -> Encoded:
        """As `Attention`; `attention` and `scores` are of the last layer."""
        return self.encoder(tokens, is_real)
