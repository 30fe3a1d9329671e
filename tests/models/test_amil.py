"""Attention MIL against its equations and published keys."""

from __future__ import annotations

import torch
from torch import Tensor

from golden import state_shapes
from tumorbase.models.amil import Amil


def test_keys_are_the_published_ones() -> None:
    assert state_shapes(Amil()) == [
        ("attention_net.0.weight", [512, 1024]),
        ("attention_net.0.bias", [512]),
        ("attention_net.3.attention_a.0.weight", [256, 512]),
        ("attention_net.3.attention_a.0.bias", [256]),
        ("attention_net.3.attention_b.0.weight", [256, 512]),
        ("attention_net.3.attention_b.0.bias", [256]),
        ("attention_net.3.attention_c.weight", [1, 256]),
        ("attention_net.3.attention_c.bias", [1]),
        ("rho.0.weight", [256, 512]),
        ("rho.0.bias", [256]),
        ("classifier.weight", [4, 256]),
        ("classifier.bias", [4]),
    ]


def test_logits_follow_equations_7_and_9_of_ilse() -> None:
    network = Amil().eval()
    weights = network.state_dict()

    def linear(name: str, vectors: Tensor) -> Tensor:
        return vectors @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    patches = torch.randn(6, 1024)
    embedded = linear("attention_net.0", patches).clamp(min=0)
    tanh = linear("attention_net.3.attention_a.0", embedded).tanh()
    gate = linear("attention_net.3.attention_b.0", embedded).sigmoid()
    scores = linear("attention_net.3.attention_c", tanh * gate)[:, 0]
    slide = sum(weight * h for weight, h in zip(scores.softmax(dim=0), embedded, strict=True))
    logits = linear("classifier", linear("rho.0", slide).clamp(min=0))

    output = network(patches)
    torch.testing.assert_close(output.logits[0], logits)
    torch.testing.assert_close(output.attention["patches"][0], scores)
