"""Self-attention through landmarks, linear in the number of tokens (Xiong et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PSEUDOINVERSE_ITERATIONS = 6
RESIDUAL_KERNEL = 33  # tokens
DROPOUT = 0.1


class NystromAttention(nn.Module):
    """Attention of tokens to each other by way of landmarks, for batches of sequences.

    A depthwise convolution of the values along the tokens is added, as in the paper's figure 2.
    """

    def __init__(self, dim: int, heads: int, landmarks: int) -> None:
        """Attention of `heads` heads, each of `dim` / `heads` features."""
        super().__init__()
        self.heads = heads
        self.landmarks = landmarks
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(DROPOUT))
        self.res_conv = nn.Conv2d(
            heads,
            heads,
            (RESIDUAL_KERNEL, 1),
            padding=(RESIDUAL_KERNEL // 2, 0),
            groups=heads,
            bias=False,
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens that have looked at all others, float (batch, tokens, dim) as given.

        Zeros are put before the first token, until landmarks stand for equally many tokens. As in
        the published code they are attended to as any other token.
        """
        count = tokens.shape[1]
        padded = F.pad(tokens, (0, 0, -count % self.landmarks, 0))  # (batch, n, dim)
        query, key, value = (
            features.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (batch, heads, n, head dim)
            for features in self.to_qkv(padded).chunk(3, dim=-1)
        )
        attended = nystrom_attention(query, key, value, self.landmarks) + self.res_conv(value)
        merged = attended.transpose(1, 2).flatten(2)  # (batch, n, dim)
        mixed: Tensor = self.to_out(merged)[:, -count:]  # (batch, tokens, dim)
        return mixed


def nystrom_attention(query: Tensor, key: Tensor, value: Tensor, landmarks: int) -> Tensor:
    """Values as softmax attention would mix them, approximately, (batch, heads, tokens, features).

    softmax(Q K~') pinv(softmax(Q~ K~')) softmax(Q~ K') V, where Q~ and K~, the landmarks, are means
    over stretches of tokens (Xiong et al., "Linearized self-attention via Nystrom method").

    Args:
        query: float (batch, heads, tokens, features).
        key: of the same shape.
        value: of the same shape.
        landmarks: how many; divides the number of tokens. With one a token it is softmax attention.
    """
    # All with (batch, heads) in front: landmarks and what they see are (landmarks, features).
    landmark_query = query.unflatten(2, (landmarks, -1)).mean(dim=3)
    landmark_key = key.unflatten(2, (landmarks, -1)).mean(dim=3)
    scale = query.shape[-1] ** -0.5
    kernel = (scale * landmark_query @ landmark_key.transpose(-2, -1)).softmax(dim=-1)
    seen = F.scaled_dot_product_attention(landmark_query, key, value)
    seen = pseudoinverse(kernel, PSEUDOINVERSE_ITERATIONS) @ seen
    return F.scaled_dot_product_attention(query, landmark_key, seen)  # (tokens, features)


def pseudoinverse(matrix: Tensor, iterations: int) -> Tensor:
    """Moore-Penrose inverse, approximately, by a third-order iteration (Razavi et al. 2014).

    Args:
        matrix: float (batch, heads, n, n), not negative, each row of sum 1.
        iterations: the paper takes 6.
    """
    # By the largest column of all heads together: published weights depend on it.
    inverse = matrix.transpose(-2, -1) / matrix.sum(dim=-2).amax(dim=(1, 2))[:, None, None, None]
    identity = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
    for _ in range(iterations):
        product = matrix @ inverse
        inner = 15 * identity - product @ (7 * identity - product)
        inverse = 0.25 * inverse @ (13 * identity - product @ inner)
    return inverse
