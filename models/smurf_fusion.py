"""How SMuRF joins the vectors of tumour, node and slide, and what it tells from them."""

from __future__ import annotations

from math import sqrt

from torch import Tensor, nn
from torch.nn import functional as F

DROPOUT = 0.3  # of parameters.py, which overrules the 0.25 in models.py
FUSIONS = ("fused_attention", "attention", "kronecker", "concatenation")


class RegionAttention(nn.Module):
    """Self-attention over a patient's vectors.

    Args:
        dim: of the vectors that come in.
        attention_dim: of those that go out.
        over_queries: what each vector gives to all others sums to 1, as in the published code, and
            not what each takes from them.
    """

    def __init__(self, dim: int, attention_dim: int, over_queries: bool = False) -> None:
        super().__init__()
        self.over_queries = over_queries
        self.WQ = nn.Linear(dim, attention_dim)
        self.WK = nn.Linear(dim, attention_dim)
        self.WV = nn.Linear(dim, attention_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """Attended vectors, (patients, regions, attention_dim), of (patients, regions, dim)."""
        query, key = self.WQ(vectors), self.WK(vectors)  # (patients, regions, attention_dim)
        scores = query @ key.transpose(1, 2) / sqrt(key.shape[-1])  # (patients, regions, regions)
        return scores.softmax(dim=1 if self.over_queries else 2) @ self.WV(vectors)


class TaskHead(nn.Module):
    """Hidden layers and a linear one."""

    def __init__(self, dim: int, hidden_dims: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        dims = (dim, *hidden_dims)
        self.hidden_layer = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Linear(before, after),
                    nn.LeakyReLU(0.1),
                    nn.BatchNorm1d(after),
                    nn.Dropout(DROPOUT),
                )
                for before, after in zip(dims, hidden_dims, strict=False)
            )
        )
        self.classifier = nn.Linear(dims[-1], outputs)

    def forward(self, fused: Tensor) -> Tensor:
        """Logits, (patients, outputs)."""
        return self.classifier(self.hidden_layer(fused))


def fused_dim(fusion: str, regions: int, dim: int, attention_dim: int) -> int:
    """Length of what `fuse` makes of `regions` vectors.

    Raises:
        ValueError: there is no such fusion.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}")
    vector = attention_dim if "attention" in fusion else dim
    if fusion in ("attention", "concatenation"):
        return regions * vector
    return (vector + 1) ** regions


def outer_product(vectors: Tensor) -> Tensor:
    """All products of one number of each vector or 1, (patients, (dim + 1)^regions).

    Args:
        vectors: (patients, regions, dim); the last region's numbers come fastest.
    """
    first, *others = F.pad(vectors, (0, 1), value=1.0).unbind(dim=1)  # (patients, dim + 1) each
    product = first
    for other in others:
        product = (product[:, :, None] * other[:, None, :]).flatten(1)
    return product
