"""The slide level of HIPT equals its reference and learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from learning import learn_by_heart
from torch import Tensor

from golden import assert_golden, fill, seeded
from tumorbase.models.hipt_survival import HiptLgp

HIPT = "reference/hipt"


def regions(seed: int, count: int) -> Tensor:
    return torch.from_numpy(seeded(seed).standard_normal((count, 256, 384)).astype(np.float32))


@torch.inference_mode()
def test_a_slide_equals_the_reference(shared: Path) -> None:
    with np.load(shared / HIPT / "golden.npz") as golden:
        output = fill(HiptLgp())(regions(*golden["lgp/seed_M"].tolist()))
        assert_golden(output.logits, golden["lgp/logits"])
        assert_golden(output.logits.softmax(dim=1), golden["lgp/prob"])


@torch.inference_mode()
def test_the_order_of_the_regions_does_not_matter() -> None:
    network, bag = fill(HiptLgp()), regions(1, 3)
    torch.testing.assert_close(network(bag).risk, network(bag.flip(0)).risk)


@torch.inference_mode()
def test_a_slide_of_one_region_attends_to_it_alone() -> None:
    output = fill(HiptLgp())(regions(2, 1))
    assert output.attention["regions"].tolist() == [[1.0]]
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 256, 384), (2, 255, 384), (2, 256, 192), (256, 384)])
def test_what_is_no_bag_of_regions_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(regions, 256, 384\) with at least one"):
        HiptLgp()(torch.zeros(shape))


def test_two_slides_are_told_apart_after_a_few_steps() -> None:
    torch.manual_seed(0)
    network, bags = HiptLgp(n_classes=2).eval(), [regions(4, 2), regions(5, 2)]
    network.local_vit.requires_grad_(False)
    optimiser = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-3)
    bins = torch.tensor([0, 1])

    def loss() -> Tensor:
        logits = torch.cat([network(bag).logits for bag in bags])
        return torch.nn.functional.cross_entropy(logits, bins)

    learn_by_heart(loss, optimiser, 30, share=0.07)
