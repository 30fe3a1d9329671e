"""PathGen against plain restatements of its equations, one step after the other."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from tumorbase.models.networks import build
from tumorbase.models.pathgen import (
    TRANSPORT_ENTROPY,
    CrossAttention,
    PathGen,
    TokenPooling,
    alignment_loss,
    carry,
    transport_plan,
)

SIZES = (7, 6, 5, 4, 3, 2)


@pytest.fixture(scope="module")
def network() -> PathGen:
    torch.manual_seed(0)
    network = build("pathgen", omic_sizes=SIZES).eval()
    assert isinstance(network, PathGen)
    return network


def tokens(seed: int) -> Tensor:
    return torch.randn(6, 256, generator=torch.Generator().manual_seed(seed))


def test_each_group_of_patches_is_the_bags_mean_by_an_attention_of_its_own(
    network: PathGen,
) -> None:
    patches = torch.randn(9, 1024)
    path, _ = network.encode(patches, [torch.zeros(size) for size in SIZES])
    bag = (patches @ network.patch_network[0].weight.T + network.patch_network[0].bias).clamp(min=0)
    value, gate = (
        part[0](bag) for part in (network.grouping.attention_a, network.grouping.attention_b)
    )
    scores = network.grouping.attention_c(value.tanh() * gate.sigmoid())  # (patches, groups)
    for group in range(6):
        weights = scores[:, group].exp() / scores[:, group].exp().sum()
        torch.testing.assert_close(path[group], weights @ bag)


def test_each_group_of_genes_has_a_network_of_its_own(network: PathGen) -> None:
    omics = [torch.randn(size) for size in SIZES]
    _, genes = network.encode(torch.zeros(1, 1024), omics)
    for token, omic, layers in zip(genes, omics, network.gene_networks, strict=True):
        hidden = torch.nn.functional.elu(layers[0][0](omic))
        torch.testing.assert_close(token, torch.nn.functional.elu(layers[1][0](hidden)))


def test_alignment_loss_is_one_less_the_mean_cosine_of_pairs() -> None:
    path, genes = tokens(0), tokens(1)
    cosines = [(p @ g) / (p.norm() * g.norm()) for p, g in zip(path, genes, strict=True)]
    torch.testing.assert_close(alignment_loss(path, genes), 1.0 - torch.stack(cosines).mean())


def test_alignment_loss_is_0_along_and_2_against() -> None:
    path = tokens(0)
    scale = torch.arange(1.0, 7.0)[:, None]
    torch.testing.assert_close(alignment_loss(path, scale * path), torch.tensor(0.0))
    torch.testing.assert_close(alignment_loss(path, -scale * path), torch.tensor(2.0))


def test_alignment_loss_brings_the_modalities_together() -> None:
    torch.manual_seed(0)
    network = build("pathgen", omic_sizes=SIZES).eval()
    assert isinstance(network, PathGen)
    patient = torch.randn(9, 1024), [torch.randn(size) for size in SIZES]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = alignment_loss(*network.encode(*patient))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.9
    assert losses[-1] < 0.05


def test_cross_attention_adds_what_is_seen_in_the_other_modality() -> None:
    attention = CrossAttention().eval()
    ours, others = tokens(0), tokens(1)
    to_query, to_key, to_value = attention.attention.in_proj_weight.chunk(3)
    seen, maps = [], []
    for head in range(8):
        part = slice(32 * head, 32 * head + 32)
        scores = (ours @ to_query[part].T) @ (others @ to_key[part].T).T / 32**0.5
        maps.append(scores.softmax(dim=1))
        seen.append(maps[-1] @ (others @ to_value[part].T))
    mixed = ours + torch.cat(seen, dim=1) @ attention.attention.out_proj.weight.T
    mixed = (mixed - mixed.mean(dim=1, keepdim=True)) / mixed.std(dim=1, correction=0, keepdim=True)
    updated, weights = attention(ours, others)
    torch.testing.assert_close(updated, mixed, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weights, torch.stack(maps).mean(dim=0))


def test_the_plan_is_that_of_pot() -> None:
    path, genes = tokens(0).numpy().astype(np.float64), tokens(1).numpy().astype(np.float64)
    cost = np.array(
        [[1 - p @ g / np.linalg.norm(p) / np.linalg.norm(g) for g in genes] for p in path]
    )
    share = np.full(6, 1 / 6)
    expected = ot.sinkhorn(share, share, cost, TRANSPORT_ENTROPY, stopThr=1e-12)
    plan = transport_plan(torch.from_numpy(path), torch.from_numpy(genes))
    np.testing.assert_allclose(plan.numpy(), expected, rtol=1e-6, atol=0)


def test_the_plan_costs_hardly_more_than_kantorovichs() -> None:
    """Entropy adds at most its weight times log 6 to the least cost of plans of six groups."""
    path, genes = tokens(2), tokens(3)
    cost = (1.0 - torch.nn.functional.cosine_similarity(path[:, None], genes[None], dim=2)).numpy()
    least = ot.emd2(np.full(6, 1 / 6), np.full(6, 1 / 6), cost.astype(np.float64))
    plan = transport_plan(path, genes).numpy()
    assert least - 1e-5 <= (plan * cost).sum() <= least + TRANSPORT_ENTROPY * np.log(6)


def test_the_plan_takes_as_much_of_each_group_and_brings_as_much_to_each() -> None:
    plan = transport_plan(tokens(0), tokens(1))
    sixth = torch.full((6,), 1 / 6)
    torch.testing.assert_close(plan.sum(dim=0), sixth)
    torch.testing.assert_close(plan.sum(dim=1), sixth)


def test_the_plan_finds_shuffled_groups_again() -> None:
    path = tokens(0)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    plan = transport_plan(path, path[order])
    torch.testing.assert_close(carry(plan, path), path[order], rtol=1e-2, atol=1e-2)


def test_what_arrives_is_a_mean_by_the_plan() -> None:
    plan = torch.tensor([[0.3, 0.0], [0.1, 0.2]])
    values = torch.tensor([[4.0, 8.0], [0.0, 1.0]])
    expected = torch.tensor([[3.0, 6.25], [0.0, 1.0]])
    torch.testing.assert_close(carry(plan, values), expected)


def test_tokens_are_pooled_by_gated_attention_after_the_transformer() -> None:
    pooling = TokenPooling().eval()
    seen = pooling.transformer(tokens(0)[None])[0]
    gated = pooling.attention.attention_a[0](seen).tanh()
    gated = gated * pooling.attention.attention_b[0](seen).sigmoid()
    weights = pooling.attention.attention_c(gated).softmax(dim=0)
    pooled, scores = pooling(tokens(0))
    torch.testing.assert_close(pooled, weights.T @ seen)
    torch.testing.assert_close(scores.softmax(dim=1), weights.T)


def test_the_steps_follow_each_other(network: PathGen) -> None:
    """Both modalities look at each other as they were; then the patches go to the genes."""
    path, genes = tokens(0), tokens(1)
    seen_path, path_to_genes = network.path_attention(path, genes)
    seen_genes, genes_to_path = network.gene_attention(genes, path)
    plan = transport_plan(seen_path, seen_genes)
    slide, path_scores = network.path_pooling(6.0 * plan.T @ seen_path)
    profile, gene_scores = network.gene_pooling(seen_genes)
    logits = network.head(torch.cat([slide, profile], dim=1))

    output = network.fuse(path, genes)
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.hazards, 1 / (1 + (-output.logits).exp()))
    expected = {
        "path_to_genes": path_to_genes,
        "genes_to_path": genes_to_path,
        "transport": plan,
        "path": path_scores,
        "omic": gene_scores,
    }
    assert output.attention.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(output.attention[name], values)
