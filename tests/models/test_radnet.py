"""RadNet gives the numbers of the reference implementation, and what its docstrings promise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from learning import learn_by_heart
from torch import Tensor

from golden import (
    assert_golden,
    assert_golden_stats,
    fill,
    seeded,
)
from tumorbase.models.networks import build
from tumorbase.models.radnet import RadNet
from tumorbase.models.radnet_losses import early_fusion_loss, multi_label_loss
from tumorbase.models.radnet_vit import SliceViTConfig

pytestmark = pytest.mark.usefixtures("one_thread")

TINY_VIT = SliceViTConfig(image_px=32, patch_px=16, width=32, layers=1, heads=2, feed_forward=32)


class Batch(NamedTuple):
    """Input of a golden run, as RadNet takes it, and its labels."""

    images: Tensor
    marks: Tensor
    modalities: Tensor
    labels: Tensor


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "rp3d_diag" / "golden.npz")


@pytest.fixture(scope="module")
def early() -> RadNet:
    """Early fusion of 5,569 classes, filled as the reference was."""
    return fill(build("radnet"))  # type: ignore[return-value]


@pytest.mark.parametrize("run", ["early_a", "early_b"])
def test_early_fusion_equals_the_reference(
    golden: Mapping[str, np.ndarray], early: RadNet, run: str
) -> None:
    seed, cases, scans, side_px = golden[f"{run}/seed_B_N_size"]
    shape = (int(cases), int(scans), int(side_px))
    batch = _batch(int(seed), shape, golden[f"{run}/depths"], golden[f"{run}/mods"], 5569)
    with torch.inference_mode():
        output = early(batch.images, batch.marks, batch.modalities)
        scans_encoded = early.encode_scans(batch.images.flatten(0, 1), batch.marks.flatten(0, 1))
    assert_golden(output.logits, golden[f"{run}/logits"])
    assert_golden(output.case, golden[f"{run}/fuse_out"])
    assert_golden(scans_encoded.attention, golden[f"{run}/att_cls_row"])
    assert_golden(scans_encoded.scores, golden[f"{run}/score_cls_row"])
    # The reference adds the modality to the tokens in place, before its goldens were taken.
    tokens = output.scans + early.vitFuse.mod_embed[batch.modalities]
    assert_golden(tokens.flatten(0, 1)[:, ::16], golden[f"{run}/att_out_sub"])
    keys = torch.from_numpy(golden[f"{run}/keys"])
    loss = early_fusion_loss(output.logits, batch.labels, output.slice_scores, keys, batch.marks)
    assert float(loss) == pytest.approx(float(golden[f"{run}/loss"]), rel=1e-4)
    attention_loss = float(loss - multi_label_loss(output.logits, batch.labels))
    assert attention_loss == pytest.approx(float(golden[f"{run}/loss_attn_x0.001"]), rel=1e-3)


def test_slices_are_encoded_as_by_the_reference_padding_too(
    golden: Mapping[str, np.ndarray], early: RadNet
) -> None:
    batch = _batch(4101, (1, 4, 64), golden["early_a/depths"], golden["early_a/mods"], 5569)
    with torch.inference_mode():
        features = early.encode_slices(batch.images.flatten(0, 2))
    assert_golden(features[::16, ::64], golden["early_a/resnet_sub"])
    assert_golden_stats(features, golden["early_a/resnet_stats"])


def test_late_fusion_equals_the_reference(golden: Mapping[str, np.ndarray]) -> None:
    network = fill(build("radnet", n_classes=931, fuse="late"))
    seed, cases, side_px = golden["late_a/seed_B_size"]
    depths = golden["late_a/depths"][:, None]
    batch = _batch(int(seed), (int(cases), 1, int(side_px)), depths, np.ones_like(depths), 931)
    with torch.inference_mode():
        output = network(batch.images, batch.marks, batch.modalities)
        encoded = network.encode_scans(batch.images[:, 0], batch.marks[:, 0])
    assert_golden(output.logits, golden["late_a/logits"])
    assert_golden(output.scans[:, 0, ::16], golden["late_a/att_out_sub"])
    assert_golden(encoded.attention, golden["late_a/att_cls_row"])
    assert_golden(encoded.scores, golden["late_a/score_cls_row"])
    loss = float(multi_label_loss(output.logits, batch.labels))
    assert loss == pytest.approx(float(golden["late_a/loss"]), rel=1e-4)


def test_padding_changes_nothing(early: RadNet) -> None:
    """A case of one 2D scan: one slice of one scan, or padded to three scans of 32 slices."""
    image = torch.rand(1, 1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    images = torch.rand(1, 3, 32, 48, 48, generator=torch.Generator().manual_seed(1))
    images[:, :1, :1] = image
    marks = torch.zeros(1, 3, 32, dtype=torch.bool)
    marks[:, 0, 0] = True
    with torch.inference_mode():
        bare = early(image, torch.ones(1, 1, 1, dtype=torch.bool), torch.tensor([[7]]))
        padded = early(images, marks, torch.tensor([[7, 0, 0]]))
    torch.testing.assert_close(bare.logits, padded.logits, rtol=1e-4, atol=1e-5)


def test_the_order_of_scans_does_not_matter_and_their_modality_does(early: RadNet) -> None:
    images, marks, _ = _noise(cases=1, scans=2, slices=2, side_px=48)
    with torch.inference_mode():
        first = early(images, marks, torch.tensor([[1, 4]])).logits
        turned = early(images.flip(1), marks.flip(1), torch.tensor([[4, 1]])).logits
        other = early(images, marks, torch.tensor([[4, 1]])).logits
    torch.testing.assert_close(first, turned, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first, other, atol=1e-3)


def test_one_batch_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    network = build("radnet", n_classes=4, vit=TINY_VIT)
    images, marks, modalities = _noise(cases=2, scans=2, slices=2, side_px=32)
    keys = torch.tensor([[0, 1], [1, 0]])
    labels = torch.eye(4)[:2]

    def loss() -> Tensor:
        output = network(images, marks, modalities)
        return early_fusion_loss(output.logits, labels, output.slice_scores, keys, marks)

    learn_by_heart(loss, torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9), 20)


def test_names_of_classes_replace_their_numbers() -> None:
    network = build("radnet", n_classes=5, knowledge_dim=8, vit=TINY_VIT).eval()
    images, marks, modalities = _noise(cases=1, scans=1, slices=2, side_px=32)
    names = torch.nn.functional.normalize(torch.randn(5, 8), dim=1)
    with torch.no_grad():
        output = network(images, marks, modalities, names)
        turned = network(images, marks, modalities, names.flip(0))
    expected = output.case @ network.fcke(names).T  # (cases, classes)
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(turned.logits, output.logits.flip(1))
    with pytest.raises(ValueError, match="names of the classes go with"):
        network(images, marks, modalities)


@torch.inference_mode()
def test_the_vit_variant_has_the_same_outputs(early: RadNet) -> None:
    inputs = _noise(cases=1, scans=2, slices=3, side_px=32)
    variant = build("radnet", vit=TINY_VIT)
    resnet, vit = ([part.shape for part in network(*inputs)] for network in (early, variant))
    assert vit == resnet


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        ({}, (1, 1, 33, 8, 8), "at most 32 slices, got 33"),
        ({}, (1, 1, 2, 8), "expected images"),
        ({"fuse": "late"}, (1, 2, 2, 32, 32), "late fusion takes one scan a case, got 2"),
    ],
)
def test_wrong_shapes_are_refused(config: dict, shape: tuple[int, ...], message: str) -> None:
    with torch.device("meta"):
        network = build("radnet", n_classes=2, vit=TINY_VIT, **config)
    network.to_empty(device="cpu")
    with pytest.raises(ValueError, match=message):
        network(
            torch.zeros(shape),
            torch.ones(shape[:3], dtype=torch.bool),
            torch.ones(shape[:2], dtype=torch.int64),
        )


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="fuse must be early or late, got 'middle'"):
        build("radnet", fuse="middle")
    with pytest.raises(ValueError, match="whole patches"):
        build("radnet", vit=SliceViTConfig(image_px=100, patch_px=16))


def _batch(
    seed: int, shape: tuple[int, int, int], depths: np.ndarray, mods: np.ndarray, classes: int
) -> Batch:
    """Input of a golden run by the rule of the reference's spec."""
    random = seeded(seed)
    cases, scans, side_px = shape
    images = np.zeros((cases, scans, 32, side_px, side_px), dtype=np.float32)
    for place, depth in np.ndenumerate(depths):
        if depth:
            drawn = random.random((side_px, side_px, int(depth)))
            images[place][:depth] = drawn.astype(np.float32).transpose(2, 0, 1)
    labels = random.random((cases, classes)) < 0.01
    return Batch(
        torch.from_numpy(images),
        torch.arange(32) < torch.from_numpy(depths)[..., None],
        torch.from_numpy(mods),
        torch.from_numpy(labels).float(),
    )


def _noise(cases: int, scans: int, slices: int, side_px: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(cases, scans, slices, side_px, side_px, generator=random)
    marks = torch.ones(cases, scans, slices, dtype=torch.bool)
    return images, marks, torch.randint(1, 16, (cases, scans), generator=random)
