"""LesaNet gives the numbers of the reference implementation, and its losses teach it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import learn_by_heart
from torch import Tensor
from torch.nn import functional as F

from golden import (
    assert_golden,
    assert_golden_stats,
    fill,
    seeded,
)
from tumorbase.models import lesanet_losses
from tumorbase.models.lesanet import LesaNet
from tumorbase.models.lesanet_losses import (
    LabelWeights,
    LesionTargets,
    hard_example_cross_entropy,
    label_weights,
    lesanet_loss,
    sample_triplets,
    triplet_loss,
    weighted_cross_entropy,
)
from tumorbase.models.networks import build

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = ["lesanet_a", "lesanet_b"]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "lesion_graph" / "golden.npz")


@pytest.fixture(scope="module")
def filled() -> LesaNet:
    """Filled as the reference was."""
    return fill(build("lesanet"))  # type: ignore[return-value]


@pytest.mark.parametrize("run", RUNS)
def test_scores_and_embeddings_equal_the_reference(
    golden: Mapping[str, np.ndarray], filled: LesaNet, run: str
) -> None:
    patches, boxes = _input(golden, run)
    with torch.inference_mode():
        output = filled(patches, boxes)
        scales = filled.scales(patches, boxes)
    assert_golden(scales, golden[f"{run}/fc_cat"])
    assert_golden(output.embedding, golden[f"{run}/emb"])
    assert_golden(output.scores, golden[f"{run}/class_score1"])
    assert_golden(output.scores.sigmoid(), golden[f"{run}/class_prob1"])
    assert_golden(output.propagated_scores, golden[f"{run}/class_score2"])
    assert_golden(output.propagated_scores.sigmoid(), golden[f"{run}/class_prob2"])


@pytest.mark.parametrize("run", RUNS)
def test_layers_on_the_way_equal_the_reference(
    golden: Mapping[str, np.ndarray], filled: LesaNet, run: str
) -> None:
    watched = ["conv5_3", *(f"fc_pool{block}" for block in range(1, 6))]
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        filled.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
        for name in watched
    ]
    with torch.inference_mode():
        filled.scales(*_input(golden, run))
    for hook in hooks:
        hook.remove()
    for name in watched:
        assert_golden_stats(seen[name][1], golden[f"{run}/{name}_stats"])
    for block in (1, 5):
        assert_golden_stats(seen[f"fc_pool{block}"][0], golden[f"{run}/roipool{block}_stats"])


def test_embeddings_have_length_1(filled: LesaNet) -> None:
    with torch.inference_mode():
        embedding = filled(*_lesions(3)).embedding
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_box_matters_and_may_reach_beyond_the_patch(filled: LesaNet) -> None:
    patches, _ = _lesions(1)
    boxes = torch.tensor([[4.0, 4.0, 12.0, 12.0], [0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 90.0, 90.0]])
    with torch.inference_mode():
        small, whole, beyond = filled(patches.expand(3, -1, -1, -1), boxes).scores
    assert not torch.allclose(small, whole, rtol=1e-2)
    assert beyond.isfinite().all()


def test_labels_do_not_inform_each_other_before_training() -> None:
    output = build("lesanet", labels=7).eval()(*_lesions(1))
    assert torch.equal(output.scores, output.propagated_scores)


def test_one_batch_is_learned() -> None:
    torch.manual_seed(0)
    network, (patches, boxes) = build("lesanet", labels=6), _lesions(4)
    targets = _targets(4, 6)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    learn_by_heart(lambda: _loss(network(patches, boxes), targets), optimizer, 25)


def test_rare_labels_weigh_more_but_at_most_300() -> None:
    is_positive = torch.zeros(1000, 3, dtype=torch.bool)
    is_positive[:250, 0] = True
    is_positive[:1, 1] = True
    weights = label_weights(is_positive)
    assert weights.positive.tolist() == [2.0, 300.0, 300.0]
    assert weights.negative.tolist() == pytest.approx([1000 / 1500, 1000 / 1998, 0.5])


def test_weighted_cross_entropy_equals_its_definition() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 4, generator=random)
    targets, weights = _targets(5, 4), LabelWeights(torch.rand(4) + 1, torch.rand(4))
    truth, probability = targets.is_positive.float(), scores.sigmoid()
    weight = truth * weights.positive + (1 - truth) * weights.negative
    terms = truth * probability.log() + (1 - truth) * (1 - probability).log()
    expected = -(weight * ~targets.is_uncertain * terms).mean()
    torch.testing.assert_close(weighted_cross_entropy(scores, targets, weights), expected)


def test_weighted_cross_entropy_equals_a_worked_example() -> None:
    """Probability 0.8 of a label that is there, 0.4 of one that is not, and one that is masked."""
    scores = torch.tensor([[0.8, 0.4, 0.9]]).logit()
    no = torch.zeros(1, 3, dtype=torch.bool)
    targets = LesionTargets(
        torch.tensor([[True, False, False]]), torch.tensor([[False, False, True]]), no
    )
    weights = LabelWeights(torch.full((3,), 3.0), torch.full((3,), 0.5))
    expected = -(3 * np.log(0.8) + 0.5 * np.log(0.6)) / 3
    assert weighted_cross_entropy(scores, targets, weights).item() == pytest.approx(expected)


def test_the_loss_is_the_sum_of_its_parts_triplets_five_times() -> None:
    network, (patches, boxes) = build("lesanet", labels=6).eval(), _lesions(4)
    targets, random = _targets(4, 6), seeded(5)
    weights = label_weights(targets.is_positive)
    with torch.inference_mode():
        output = network(patches, boxes)
    triplets = sample_triplets(targets.is_positive.numpy(), 5_000, random)
    parts = [
        weighted_cross_entropy(output.scores, targets, weights),
        weighted_cross_entropy(output.propagated_scores, targets, weights),
        hard_example_cross_entropy(output.scores, targets, random),
        5 * triplet_loss(output.embedding, triplets),
    ]
    torch.testing.assert_close(_loss(output, targets), sum(parts))


def test_hard_examples_are_drawn_by_their_squared_error_among_reliable_labels() -> None:
    # Errors 0.9 and 0.3 are reliable, 0.8 is not: drawn 9 to 1.
    scores = torch.tensor([[0.1, 0.3, 0.8]]).logit()
    no = torch.zeros(1, 3, dtype=torch.bool)
    targets = LesionTargets(
        torch.tensor([[True, False, False]]), no, torch.tensor([[False, True, False]])
    )
    loss = hard_example_cross_entropy(scores, targets, seeded(0))
    expected = -(0.9 * np.log(0.1) + 0.1 * np.log(0.7))
    assert loss.item() == pytest.approx(expected, rel=0.02)


def test_a_batch_without_reliable_labels_has_no_hard_examples() -> None:
    scores, no = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, dtype=torch.bool)
    loss = hard_example_cross_entropy(scores, LesionTargets(no, no, no), seeded(0))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None


def test_triplets_share_more_labels_with_the_positive_than_with_the_negative() -> None:
    # Similarity to lesion 0: lesion 1 has 2 * 2/3, 2 has 1 * 1/2, 3 has 0, 4 has 0 (no label).
    labels = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    triplets = sample_triplets(labels, 500, seeded(1))
    of_first = triplets[triplets[:, 0] == 0]
    assert set(of_first[:, 1]) == {1}  # the only one of similarity >= 1
    assert set(of_first[:, 2]) == {2, 3, 4}
    of_unlike = triplets[triplets[:, 0] == 3]
    assert set(of_unlike[:, 1]) == {0}  # none is similar: the first of the most similar ones
    assert (triplets[:, 0] != triplets[:, 1]).all()


def test_every_lesion_that_fits_is_drawn_alike() -> None:
    """Four lesions are like the first and three are not: each comes as often as its fellows."""
    labels = np.eye(3, dtype=bool)[[0, 0, 0, 0, 0, 1, 1, 2]]
    triplets = sample_triplets(labels, 20_000, seeded(2))
    assert np.bincount(triplets[:, 0]) / 20_000 == pytest.approx(np.full(8, 1 / 8), abs=0.01)
    _, positive, negative = triplets[triplets[:, 0] == 0].T
    assert np.bincount(positive)[1:] / len(positive) == pytest.approx(np.full(4, 1 / 4), abs=0.05)
    assert np.bincount(negative)[5:] / len(negative) == pytest.approx(np.full(3, 1 / 3), abs=0.05)


def test_lesions_that_are_all_alike_still_make_triplets() -> None:
    """None is less similar: the negative is the first of the least similar ones."""
    triplets = sample_triplets(np.ones((4, 2), bool), 50, seeded(0))
    assert (triplets[:, 0] != triplets[:, 1]).all()
    assert triplets[:, 2].tolist() == [int(anchor == 0) for anchor in triplets[:, 0]]


def test_two_lesions_make_no_triplet() -> None:
    with pytest.raises(ValueError, match="at least 3 lesions to draw triplets, got 2"):
        sample_triplets(np.eye(2, dtype=bool), 1, seeded(0))


def test_triplet_loss_is_zero_once_the_margin_is_kept() -> None:
    embedding = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    assert triplet_loss(embedding, np.array([[0, 1, 2]])).item() == 0
    assert triplet_loss(embedding, np.array([[0, 1, 1]])).item() == pytest.approx(0.1, abs=1e-6)
    across = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])  # 2 and sqrt(2) from the first
    loss = triplet_loss(across, np.array([[0, 1, 2], [0, 2, 1]]))
    assert loss.item() == pytest.approx((2 - 2**0.5 + 0.1) / 2, abs=1e-5)


def _input(golden: Mapping[str, np.ndarray], run: str) -> tuple[Tensor, Tensor]:
    seed, batch, side_px = map(int, golden[f"{run}/seed_B_S"])
    grey = seeded(seed).random((batch, 3, side_px, side_px)) * 255
    patches = torch.from_numpy(((grey - 50) / 255).astype(np.float32))
    return patches, torch.from_numpy(golden[f"{run}/center_box"])


def _lesions(count: int) -> tuple[Tensor, Tensor]:
    """Small patches of noise with a box each."""
    patches = torch.from_numpy(seeded(3).random((count, 3, 32, 32)).astype(np.float32)) - 0.2
    return patches, torch.tensor([[8.0, 6.0, 20.0, 24.0]]).expand(count, -1).contiguous()


def _targets(lesions: int, labels: int) -> LesionTargets:
    random = seeded(4)
    is_positive = torch.from_numpy(random.random((lesions, labels)) < 0.4)
    is_uncertain = torch.from_numpy(random.random((lesions, labels)) < 0.5) & ~is_positive
    return LesionTargets(is_positive, is_uncertain, ~is_positive & ~is_uncertain)


def _loss(output: lesanet_losses.LesionLabels, targets: LesionTargets) -> Tensor:
    return lesanet_loss(output, targets, label_weights(targets.is_positive), seeded(5))
