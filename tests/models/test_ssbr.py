"""The body-part regressor gives the numbers of the reference, and its loss orders slices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from learning import learn_by_heart

from golden import (
    assert_golden,
    assert_golden_stats,
    fill,
    seeded,
)
from tumorbase.models.body_part_slice import body_part_slice
from tumorbase.models.networks import build
from tumorbase.models.ssbr import Ssbr
from tumorbase.models.ssbr_loss import distance_loss, order_loss, ssbr_loss

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "lesion_graph" / "golden.npz")


@pytest.fixture(scope="module")
def filled() -> Ssbr:
    """Filled as the reference was."""
    return fill(build("ssbr"))  # type: ignore[return-value]


def test_scores_equal_the_reference(golden: Mapping[str, np.ndarray], filled: Ssbr) -> None:
    seed, batch = map(int, golden["ssbr/seed_B"])
    slices = seeded(seed).random((batch, 1, 128, 128)) * 255 - 50
    seen = []
    hook = filled.get_submodule("conv5_3").register_forward_hook(
        lambda _, inputs, output: seen.append(output)
    )
    with torch.inference_mode():
        scores = filled(torch.from_numpy(slices.astype(np.float32)).expand(-1, 3, -1, -1))
    hook.remove()
    assert_golden(scores[:, None], golden["ssbr/score"])
    assert_golden_stats(seen[0].relu(), golden["ssbr/conv5_3_stats"])


def test_pools_round_up_as_in_caffe(filled: Ssbr) -> None:
    one = torch.zeros(1, 3, 17, 17)
    shapes = []
    hook = filled.conv6.register_forward_hook(
        lambda _, inputs, output: shapes.append(output.shape[2:])
    )
    filled(one)
    hook.remove()
    assert shapes == [(2, 2)]  # 17, 9, 5, 3, 2


def test_order_loss_equals_the_reference(golden: Mapping[str, np.ndarray]) -> None:
    scores = torch.from_numpy(golden["ssbr_loss/scores"])
    order, distance = (
        golden["ssbr_loss/order_loss"],
        golden["ssbr_loss/smoothl1_sum_over_elems_mean"],
    )
    assert_golden(order_loss(scores), order, rtol=1e-6)
    assert_golden(distance_loss(scores), distance, rtol=1e-6)
    assert_golden(ssbr_loss(scores), order + distance, rtol=1e-6)


def test_losses_equal_a_worked_example() -> None:
    """Differences 1 and 3, then -1 and -1: each is doubled for its order, and changes by 2 or 0."""
    scores = torch.tensor([[0.0, 1.0, 4.0], [2.0, 1.0, 0.0]])
    order = np.log1p(np.exp([-2.0, -6.0, 2.0, 2.0])).mean()
    assert order_loss(scores).item() == pytest.approx(order)
    assert distance_loss(scores).item() == pytest.approx((2 - 0.5 + 0) / 2)


def test_even_slices_in_order_cost_least() -> None:
    down = torch.arange(8.0)[None] * 4
    uneven = torch.tensor([[0.0, 1, 2, 3, 25, 26, 27, 28]])
    assert ssbr_loss(down) < ssbr_loss(uneven) < ssbr_loss(down.flip(1))
    assert distance_loss(down) == 0


@pytest.mark.parametrize("shape", [(8,), (2, 1)])
def test_scores_of_no_group_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected scores \(groups, slices\) of at least 2, got"):
        order_loss(torch.zeros(shape))


def test_one_volume_is_learned() -> None:
    torch.manual_seed(0)
    network = build("ssbr")
    noise = torch.from_numpy(seeded(2).normal(0, 20, (6, 3, 32, 32)).astype(np.float32))
    slices = noise + 30 * torch.arange(6.0)[:, None, None, None]
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    learn_by_heart(lambda: ssbr_loss(network(slices)[None]), optimizer, 20, share=0.02)
    assert (network(slices).diff() > 0).all()


@pytest.mark.parametrize("shape", [(512, 512), (300, 300), (143, 161), (64, 64), (1, 5)])
def test_slice_is_windowed_and_resized_as_by_opencv(shape: tuple[int, int]) -> None:
    hu = seeded(6).integers(-400, 500, shape).astype(np.float32)
    grey = np.clip((hu.astype(np.float64) + 175) / 450, 0, 1) * 255
    expected = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_LINEAR) - 50
    made = body_part_slice(hu)
    assert made.shape == (3, 128, 128)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, np.broadcast_to(expected, made.shape), atol=1e-3)


def test_a_volume_is_no_slice() -> None:
    with pytest.raises(ValueError, match=r"expected a slice \(y, x\), got shape \(3, 4, 5\)"):
        body_part_slice(np.zeros((3, 4, 5), np.float32))
