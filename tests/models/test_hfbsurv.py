"""HFBSurv against a plain restatement of its published flow of three modalities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tumorbase.models.hfbsurv import HfbSurv, bilinear_pool


def test_three_modalities_flow_as_published() -> None:
    """One patient through the steps of HFB_fusion.py, each modality with layers of its own."""
    network = HfbSurv((7, 9), patch_dim=12).eval()
    patches, genes, copies = torch.randn(5, 12), torch.randn(7), torch.randn(9)

    def bilinear(first: Tensor, second: Tensor) -> Tensor:
        product = (first * second).view(1, 20, 20).sum(dim=2)
        tamed = torch.sqrt(F.relu(product)) - torch.sqrt(F.relu(-product))
        return tamed / tamed.norm()

    vectors = [patches.mean(dim=0, keepdim=True), genes[None], copies[None]]
    features = [encode(v) for encode, v in zip(network.encoders, vectors, strict=True)]
    factors = [layer(f) for layer, f in zip(network.within, features, strict=True)]
    specific = [
        torch.cat([f, bilinear(x, x)], dim=1) for f, x in zip(features, factors, strict=True)
    ]
    weights = [network.attention(x) for x in specific]
    a, b, c = (w * x for w, x in zip(weights, specific, strict=True))

    def pair_weight(i: int, j: int, first: Tensor, second: Tensor) -> Tensor:
        likeness = (first.softmax(dim=1) * second.softmax(dim=1)).sum()
        return (weights[i] + weights[j]) / (likeness + 0.5)

    pair_weights = torch.cat(
        [pair_weight(0, 1, a, b), pair_weight(0, 2, a, c), pair_weight(1, 2, b, c)], dim=1
    ).softmax(dim=1)[0]
    x, y, z = (layer(m) for layer, m in zip(network.between, (a, b, c), strict=True))
    pairs = torch.cat([bilinear(x, y), bilinear(x, z), bilinear(y, z)])
    fused = torch.cat([a + b + c, pair_weights[None] @ pairs], dim=1)
    expected = network.head(network.norm(fused))

    output = network(patches, [genes, copies])
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.attention["modalities"], torch.cat(weights)[:, 0])


def test_bilinear_pooling_is_the_trace_of_a_low_rank_form() -> None:
    """Before taming, output o is x^T (sum over the rank of u v^T) y."""
    u, v = torch.randn(2, 20, 20, 6, dtype=torch.float64)  # (output, rank, features)
    x, y = torch.randn(2, 6, dtype=torch.float64)
    forms = torch.einsum("orf,org->ofg", u, v)  # (output, features, features), of rank 20
    expected = torch.stack([x @ form @ y for form in forms])
    expected = expected.sign() * expected.abs().sqrt()
    pooled = bilinear_pool(((u @ x) * (v @ y)).reshape(1, 400))[0]
    torch.testing.assert_close(pooled, expected / expected.norm())


def test_bilinear_pooling_of_nothing_has_a_gradient() -> None:
    products = torch.zeros(1, 400, requires_grad=True)
    bilinear_pool(products).sum().backward()
    assert products.grad is not None
    assert products.grad.isfinite().all()
