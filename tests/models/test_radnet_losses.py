"""The losses of RadNet equal the reference's, and can be driven to their least."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import assert_golden
from tumorbase.models.radnet_losses import (
    focal_loss,
    key_slice_target,
    ldam_loss,
    multi_label_loss,
    slice_attention_loss,
)

LABELS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "rp3d_diag" / "golden.npz")


def test_cross_entropy_equals_the_reference_and_clamps(golden: Mapping[str, np.ndarray]) -> None:
    logits = torch.from_numpy(golden["loss/bce_logits"])
    assert logits.abs().max() > 60
    loss = multi_label_loss(logits, torch.from_numpy(golden["loss/bce_labels"]))
    assert loss.item() == pytest.approx(float(golden["loss/bce"]), rel=1e-4)


def test_attention_loss_equals_the_reference(golden: Mapping[str, np.ndarray]) -> None:
    keys, slices = (torch.from_numpy(golden[f"loss/{name}"]) for name in ("centers", "cutoffs"))
    assert_golden(key_slice_target(keys, slices, 32), golden["loss/gauss_labels"])
    loss = slice_attention_loss(torch.from_numpy(golden["loss/pred"]), keys, slices)
    assert loss.item() == pytest.approx(float(golden["loss/kl"]), rel=1e-4)


def test_a_key_slice_far_beyond_the_scan_is_its_last_slice() -> None:
    """The reference divides 0 by 0 there."""
    target = key_slice_target(torch.tensor([500]), torch.tensor([3]), 5)
    torch.testing.assert_close(target, torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]]))


def test_focal_loss_is_equation_5() -> None:
    """One positive with probability 0.8 and one negative with 0.4, gamma 2, alpha 0.9."""
    logits = torch.tensor([[math.log(4.0), math.log(2 / 3)]])
    expected = (-0.9 * 0.2**2 * math.log(0.8) - 0.1 * 0.4**2 * math.log(0.6)) / 2
    loss = focal_loss(logits, torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    loss = focal_loss(logits, LABELS, gamma=0.0, alpha=0.5)
    torch.testing.assert_close(loss, multi_label_loss(logits, LABELS) / 2)


def test_ldam_takes_the_margin_off_positives_and_more_off_rare_ones() -> None:
    """Margins of counts 1, 16 and 81 are as 1 to 1/2 to 1/3 (equation 10)."""
    logits = torch.zeros(2, 3)
    margins = torch.tensor([0.6, 0.3, 0.2])
    loss = ldam_loss(logits, LABELS, torch.tensor([1, 16, 81]), max_margin=0.6)
    torch.testing.assert_close(loss, multi_label_loss(-margins * LABELS, LABELS))


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits: multi_label_loss(logits, LABELS),
        lambda logits: focal_loss(logits, LABELS),
        lambda logits: ldam_loss(logits, LABELS, torch.tensor([1, 10, 100])),
    ],
)
def test_one_batch_of_labels_is_learned_by_heart(loss: Callable[[Tensor], Tensor]) -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    first = loss(logits).item()
    for _ in range(50):
        optimiser.zero_grad()
        loss(logits).backward()
        optimiser.step()
    assert loss(logits).item() < 0.05 * first
    assert torch.equal(logits > 0, LABELS > 0)


def test_attention_to_a_key_slice_is_learned_by_heart() -> None:
    scores = torch.zeros(1, 8, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.3)
    key, slices = torch.tensor([6]), torch.tensor([8])
    for _ in range(100):
        optimiser.zero_grad()
        slice_attention_loss(scores, key, slices).backward()
        optimiser.step()
    torch.testing.assert_close(
        scores.softmax(dim=1), key_slice_target(key, slices, 8), rtol=0.02, atol=0.002
    )
