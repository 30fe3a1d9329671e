"""The losses of HoVer-Net against the reference's numbers, and what each drives the maps to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import assert_golden, seeded
from tumorbase.models.hovernet_losses import gradient_loss, loss_terms

TERMS = ["np_bce", "np_dice", "hv_mse", "hv_msge", "tp_bce", "tp_dice"]


def drawn(seed: int, side: int, types: int = 5) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random maps and targets of two windows, in the order of draws of the reference's spec."""
    random = seeded(seed)

    def normal(channels: int) -> Tensor:
        values = random.standard_normal((2, side, side, channels)).astype(np.float32)
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    maps = {"np": normal(2), "tp": normal(types), "hv": normal(2)}
    is_nucleus = torch.from_numpy(random.integers(0, 2, (2, side, side)))
    type_ = torch.from_numpy(random.integers(0, types, (2, side, side)))
    hv = torch.from_numpy(random.uniform(-1, 1, (2, side, side, 2)).astype(np.float32))
    return maps, {"np": is_nucleus, "tp": type_, "hv": hv.permute(0, 3, 1, 2)}


def test_terms_are_the_references(shared):
    golden = np.load(shared / "reference" / "hovernet" / "golden.npz")
    maps, targets = drawn(int(golden["loss/seed"]), side=40)
    terms = loss_terms(maps, targets)
    assert list(terms) == TERMS
    assert_golden(
        torch.stack(list(terms.values())),
        golden["loss/order_np_bce_dice__hv_mse_msge__tp_bce_dice"],
    )


def test_without_types_there_are_no_terms_of_types():
    maps, targets = drawn(0, side=8)
    del maps["tp"], targets["tp"]
    assert list(loss_terms(maps, targets)) == TERMS[:4]


@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_fits_one_batch(term):
    maps, targets = drawn(1, side=8)
    fitted = {name: map_.clone().requires_grad_() for name, map_ in maps.items()}
    optimiser = torch.optim.Adam(fitted.values(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        loss = loss_terms(fitted, targets)[term]
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.02 * loss_terms(maps, targets)[term].item()


def test_gradients_outside_of_nuclei_do_not_count():
    maps, targets = drawn(2, side=16)
    is_nucleus = torch.zeros(2, 16, 16, dtype=torch.int64)
    assert gradient_loss(maps["hv"], targets["hv"], is_nucleus).item() == 0.0
    is_nucleus[:, 4, 4] = 1
    near = gradient_loss(maps["hv"], targets["hv"], is_nucleus)
    far = maps["hv"].clone()
    far[:, :, 8:] += 3.0  # beyond the kernel's reach
    assert torch.equal(gradient_loss(far, targets["hv"], is_nucleus), near)


def test_certain_and_wrong_costs_sixteen_nats_and_no_more():
    logits = torch.tensor([1000.0, -1000.0])[None, :, None, None].expand(1, 2, 3, 3)
    maps = {"np": logits, "hv": torch.zeros(1, 2, 3, 3)}
    targets = {"np": torch.ones(1, 3, 3, dtype=torch.int64), "hv": torch.zeros(1, 2, 3, 3)}
    assert loss_terms(maps, targets)["np_bce"].item() == pytest.approx(-np.log(1e-7))
