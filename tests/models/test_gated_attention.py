"""Gated attention against its equation, and the weighted mean it makes."""

from __future__ import annotations

import torch

from tumorbase.models.gated_attention import GatedAttention, attention_pool


def test_scores_follow_equation_9_of_ilse() -> None:
    attention = GatedAttention(4, 3, heads=2).eval()
    instances = torch.randn(5, 4)
    tanh = torch.tanh(attention.attention_a[0](instances))
    gate = torch.sigmoid(attention.attention_b[0](instances))
    expected = (tanh * gate) @ attention.attention_c.weight.T + attention.attention_c.bias
    torch.testing.assert_close(attention(instances), expected.T)


def test_bags_of_a_batch_do_not_mix() -> None:
    attention = GatedAttention(4, 3).eval()
    bags = torch.randn(2, 5, 4)
    scores = attention(bags)
    assert scores.shape == (2, 1, 5)
    torch.testing.assert_close(scores[1], attention(bags[1]))
    torch.testing.assert_close(attention_pool(scores, bags)[1], attention_pool(scores[1], bags[1]))


def test_equal_scores_give_the_mean_and_one_large_score_its_instance() -> None:
    instances = torch.randn(5, 4)
    pooled = attention_pool(torch.tensor([[2.0] * 5, [0.0, 0.0, 99.0, 0.0, 0.0]]), instances)
    torch.testing.assert_close(pooled, torch.stack([instances.mean(dim=0), instances[2]]))


def test_a_bag_of_one_is_its_instance() -> None:
    instance = torch.randn(1, 4)
    torch.testing.assert_close(attention_pool(GatedAttention(4, 3)(instance), instance), instance)
