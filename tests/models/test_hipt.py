"""HIPT equals its reference at both levels and over whole regions."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import assert_golden, assert_golden_stats, fill, seeded
from tumorbase.models.hipt import Hipt4K, ViT4K, ViT256, region_patches
from tumorbase.models.hipt_vit import interpolate_positions
from tumorbase.models.network_encoder import load_published
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import find_weights

HIPT = "reference/hipt"


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / HIPT / "golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def vit256() -> ViT256:
    network = fill(ViT256())
    assert isinstance(network, ViT256)
    return network


@pytest.fixture(scope="module")
def vit4k() -> ViT4K:
    network = fill(ViT4K())
    assert isinstance(network, ViT4K)
    return network


@pytest.fixture(scope="module")
def hipt(vit256: ViT256, vit4k: ViT4K) -> Hipt4K:
    """Each level filled by itself, as the reference was."""
    network = Hipt4K().eval()
    network.model256, network.model4k = vit256, vit4k
    return network


def image(seed: int, batch: int, height: int, width: int) -> Tensor:
    """RGB in [-1, 1]."""
    pixels = seeded(seed).integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
    scaled = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return torch.from_numpy((scaled - np.float32(0.5)) / np.float32(0.5))


def vectors(seed: int, batch: int, rows: int, columns: int) -> Tensor:
    normal = seeded(seed).standard_normal((batch, 384, rows, columns))
    return torch.from_numpy(normal.astype(np.float32))


@pytest.mark.parametrize("case", ["vit256_0", "vit256_1"])
@torch.inference_mode()
def test_patches_equal_the_reference(
    vit256: ViT256, golden: dict[str, np.ndarray], case: str
) -> None:
    seed, batch, height, width = golden[f"{case}/seed_b_h_w"].tolist()
    patches = image(seed, batch, height, width)
    tokens, attention = vit256.tokens(patches), vit256.last_attention(patches)
    positions = interpolate_positions(vit256.pos_embed, height // 16, width // 16)
    assert_golden(positions[..., ::8], golden[f"{case}/pos_embed_interp"])
    assert_golden(vit256(patches), golden[f"{case}/cls"])
    assert_golden(tokens[:, ::16, ::4], golden[f"{case}/tokens_last_sub"])
    assert_golden_stats(tokens, golden[f"{case}/tokens_last_stats"])
    assert_golden(attention[:, :, 0], golden[f"{case}/last_attn_cls_row"])
    assert_golden_stats(attention, golden[f"{case}/last_attn_stats"])


@pytest.mark.parametrize("case", ["vit4k_0", "vit4k_1", "vit4k_2"])
@torch.inference_mode()
def test_grids_equal_the_reference(vit4k: ViT4K, golden: dict[str, np.ndarray], case: str) -> None:
    grid = vectors(*golden[f"{case}/seed_b_w_h"].tolist())
    assert_golden(vit4k(grid), golden[f"{case}/cls"])
    assert_golden(vit4k.last_attention(grid)[:, :, 0], golden[f"{case}/last_attn_cls_row"])


@torch.inference_mode()
def test_a_region_that_is_no_multiple_of_patches_equals_the_reference(
    hipt: Hipt4K, golden: dict[str, np.ndarray]
) -> None:
    seed, height, width = golden["region_0/seed_h_w"].tolist()
    features = hipt.features(image(seed, 1, height, width))
    assert_golden(features.cls256, golden["region_0/features_cls256"])
    assert_golden(features.mean256, golden["region_0/features_mean256"])
    assert_golden(features.cls4k, golden["region_0/features_cls4k"])
    assert_golden(features.mean256_cls4k, golden["region_0/features_mean256_cls4k"])


@pytest.mark.slow
@torch.inference_mode()
def test_a_region_of_4096_px_equals_the_reference(
    hipt: Hipt4K, golden: dict[str, np.ndarray]
) -> None:
    seed, height, width = golden["region_full/seed_h_w"].tolist()
    features = hipt.features(image(seed, 1, height, width))
    assert_golden(features.cls256[::16], golden["region_full/features_cls256_every16"])
    assert_golden_stats(features.cls256, golden["region_full/features_cls256_stats"])
    assert_golden(features.mean256, golden["region_full/features_mean256"])
    assert_golden(features.cls4k, golden["region_full/features_cls4k"])


def test_patches_of_a_region_come_by_rows_from_its_centre() -> None:
    region = torch.arange(3 * 600 * 800, dtype=torch.float32).reshape(1, 3, 600, 800)
    patches, rows, columns = region_patches(region)
    assert (rows, columns) == (2, 3)
    top, left = (600 - 512) // 2, (800 - 768) // 2
    expected = region[0, :, top + 256 : top + 512, left + 256 : left + 512]
    assert torch.equal(patches[columns + 1], expected)


@pytest.mark.parametrize("trained_on_many", ["", "module."])
def test_the_published_file_is_a_training_by_dino(tmp_path: Path, trained_on_many: str) -> None:
    """Both networks, each with a head, and how they were trained, as main_dino4k.py saves them."""
    backbone = fill(ViT4K()).state_dict()
    teacher = {f"{trained_on_many}backbone.{key}": value for key, value in backbone.items()}
    teacher[f"{trained_on_many}head.mlp.0.weight"] = torch.zeros(4, 192)
    content = {
        "student": {f"module.{key}": torch.zeros(1) for key in teacher},
        "teacher": teacher,
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_xs", lr=0.1),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }
    torch.save(content, tmp_path / "hipt-vit4k.pth")
    published = PUBLISHED["hipt-vit4k"]
    network = load_published(published, find_weights(published, tmp_path))
    assert all(torch.equal(value, backbone[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("shape", [(1, 3, 255, 512), (1, 3, 512, 100), (2, 3, 256, 256)])
def test_what_is_not_one_region_is_refused(hipt: Hipt4K, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected one region of at least 256 x 256 px"):
        hipt(torch.zeros(shape))


def test_sides_that_tokens_do_not_fill_are_refused(vit256: ViT256) -> None:
    with pytest.raises(ValueError, match="multiples of 16 px, got 250 x 256"):
        vit256(torch.zeros(1, 3, 250, 256))
