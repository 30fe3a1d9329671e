"""Gated attention over the instances of a bag (Ilse, Tomczak & Welling 2018, section 2.4)."""

from __future__ import annotations

from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Scores of instances, w^T (tanh(V h) * sigmoid(U h)): equation 9 before its softmax.

    The keys are those of CLAM and MCAT: `attention_a.0` is V, `attention_b.0` U, `attention_c` w.
    """

    def __init__(self, dim: int, hidden_dim: int, heads: int = 1, dropout: float = 0.25) -> None:
        """Attention over instances of `dim` features; each head weighs them by itself."""
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(dim, hidden_dim), nn.Tanh(), nn.Dropout(dropout))
        self.attention_b = nn.Sequential(
            nn.Linear(dim, hidden_dim), nn.Sigmoid(), nn.Dropout(dropout)
        )
        self.attention_c = nn.Linear(hidden_dim, heads)

    def forward(self, instances: Tensor) -> Tensor:
        """Scores before the softmax.

        Args:
            instances: float (..., instances, dim).

        Returns:
            float (..., heads, instances).
        """
        gated = self.attention_a(instances) * self.attention_b(instances)  # (..., n, hidden)
        scores: Tensor = self.attention_c(gated)  # (..., n, heads)
        return scores.transpose(-2, -1)  # (..., heads, n)


def attention_pool(scores: Tensor, instances: Tensor) -> Tensor:
    """Mean of the instances by the softmax of their scores (equation 7), (..., heads, dim).

    Args:
        scores: float (..., heads, instances), before the softmax.
        instances: float (..., instances, dim).
    """
    return scores.softmax(dim=-1) @ instances
