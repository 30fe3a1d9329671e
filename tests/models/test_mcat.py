"""MCAT equals the published one, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from survival_golden import assert_every_step_golden, seeded_patient

from golden import fill
from tumorbase.models.networks import build
from tumorbase.models.survival_losses import nll_survival_with_logits

SIZES = [100, 200, 300, 400, 500, 600]
BLCA = [94, 334, 521, 468, 1495, 479]
VARIANTS = {  # by golden run
    "concat_default": {"omic_sizes": SIZES},
    "concat_blca": {"omic_sizes": BLCA},
    "bilinear_default": {"omic_sizes": SIZES, "fusion": "bilinear"},
    "concat_omicbig": {"omic_sizes": SIZES, "snn_size": "big"},
}


@pytest.mark.parametrize("run", VARIANTS)
def test_every_step_is_the_published_one(shared, run) -> None:
    golden = np.load(shared / "reference" / "mcat" / "golden.npz")
    assert_every_step_golden(fill(build("mcat", **VARIANTS[run])), golden, run)


@pytest.fixture
def network() -> torch.nn.Module:
    """Of two small gene groups, without dropout."""
    torch.manual_seed(0)
    return build("mcat", omic_sizes=[5, 7], n_classes=3).eval()


def test_a_bag_of_one_patch_gets_hazards_and_is_seen_whole(network) -> None:
    bag, omics = seeded_patient(0, 1, [5, 7])
    output = network(bag, omics)
    assert output.hazards.shape == (1, 3)
    assert output.hazards.isfinite().all()
    assert output.attention["coattention"].shape == (2, 1)


def test_the_order_of_patches_does_not_matter(network) -> None:
    bag, omics = seeded_patient(0, 40, [5, 7])
    shuffled = bag[torch.randperm(40)]
    torch.testing.assert_close(network(bag, omics).logits, network(shuffled, omics).logits)


@pytest.mark.parametrize("fusion", ["concat", "bilinear"])
def test_gradients_reach_every_parameter(fusion) -> None:
    torch.manual_seed(0)
    network = build("mcat", omic_sizes=[5, 7], fusion=fusion).double()
    bag, omics = seeded_patient(0, 9, [5, 7])
    network(bag.double(), [omic.double() for omic in omics]).logits.square().sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    # What is added to all scores alike, a softmax takes off again: the bias of the scores, and of
    # the keys, the middle third of the co-attention's.
    unused = {"path_attention_head.attention_c.bias", "omic_attention_head.attention_c.bias"}
    assert {name for name, grad in gradients.items() if grad.abs().max() < 1e-12} == unused
    thirds = gradients["coattn.in_proj_bias"].chunk(3)
    assert [third.abs().max().item() > 1e-12 for third in thirds] == [True, False, True]


def test_two_patients_are_learnt_by_heart(network) -> None:
    patients = [seeded_patient(seed, 12, [5, 7]) for seed in (1, 2)]
    bins, censored = torch.tensor([0, 2]), torch.tensor([0, 1])
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        logits = torch.cat([network(*patient).logits for patient in patients])
        loss = nll_survival_with_logits(logits, bins, censored)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    network, patient = build("mcat", omic_sizes=[5, 7]), seeded_patient(0, 9, [5, 7])
    assert not torch.equal(network(*patient).logits, network(*patient).logits)
    network.eval()
    torch.testing.assert_close(network(*patient).logits, network(*patient).logits, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"omic_sizes": []}, "at least one gene group"),
        ({"omic_sizes": [5], "fusion": "sum"}, "fusion must be concat or bilinear, got 'sum'"),
        ({"omic_sizes": [5], "snn_size": "huge"}, "snn_size must be one of small, big"),
    ],
)
def test_what_cannot_be_built_is_refused(config, message) -> None:
    with pytest.raises(ValueError, match=message):
        build("mcat", **config)


def test_a_wrong_bag_or_gene_group_is_refused(network) -> None:
    bag, omics = seeded_patient(0, 9, [5, 7])
    with pytest.raises(ValueError, match="with at least one patch, got"):
        network(bag[:0], omics)
    with pytest.raises(ValueError, match=r"omics must have the sizes \(5, 7\), got shapes"):
        network(bag, omics[::-1])
