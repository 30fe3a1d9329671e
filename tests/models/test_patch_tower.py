"""Patches come to a network as the libraries' own transforms would bring them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from patches import real_patches
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg
from torch import nn
from torchvision.models import get_model_weights
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)

from tumorbase.models import hipt, resnet50_layer3
from tumorbase.models.open_clip_models import open_clip_preprocessing
from tumorbase.models.patch_tower import PatchPreprocessing, PatchTower
from tumorbase.models.pathology_vits import CONFIGS
from tumorbase.models.timm_models import timm_preprocessing
from tumorbase.models.torchvision_models import torchvision_preprocessing

LEVELS = 2.01 / 255 / 0.22  # two grey levels, in deviations


@pytest.fixture(scope="module")
def patches(shared: Path) -> np.ndarray:
    return real_patches(shared, 3)


def prepared(patches: np.ndarray, preprocessing: PatchPreprocessing) -> torch.Tensor:
    tower = PatchTower(nn.Identity(), preprocessing)
    return tower(torch.from_numpy(preprocessing.cut(patches)))


def transformed(patches: np.ndarray, transform: Compose) -> torch.Tensor:
    return torch.stack([transform(Image.fromarray(patch)) for patch in patches])


def assert_as_transformed(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal but for roundings of the resizing."""
    difference = (ours - theirs).abs()
    assert difference.max() <= LEVELS
    assert (difference > 1e-6).float().mean() < 0.03


@pytest.mark.parametrize(
    "model", ["resnet50", "vit_small_patch16_224.dino", "swin_tiny_patch4_window7_224", "vgg16"]
)
def test_patches_are_prepared_as_by_timm(patches: np.ndarray, model: str) -> None:
    config = get_pretrained_cfg(model)
    assert config
    transform = create_transform(**resolve_data_config(pretrained_cfg=config.to_dict()))
    preprocessing = timm_preprocessing(model)
    assert_as_transformed(prepared(patches, preprocessing), transformed(patches, transform))


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("resnet50", "DEFAULT"),
        ("resnet50.IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_E2E_V1"),
    ],
)
def test_patches_are_prepared_as_by_torchvision(
    patches: np.ndarray, model: str, weights: str
) -> None:
    transform = get_model_weights(model.partition(".")[0])[weights].transforms()
    preprocessing = torchvision_preprocessing(model)
    assert_as_transformed(prepared(patches, preprocessing), transformed(patches, transform))


@pytest.mark.parametrize(
    ("model", "tag"),
    [("ViT-B-32", ""), ("ViT-B-16", "openai"), ("ViT-B-16-SigLIP", "webli"), ("RN50", "cc12m")],
)
def test_patches_are_prepared_as_by_open_clip(patches: np.ndarray, model: str, tag: str) -> None:
    published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    how = {name: published[name] for name in ("mean", "std", "interpolation") if name in published}
    side = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    transform = open_clip.image_transform(side, is_train=False, **how)
    preprocessing = open_clip_preprocessing(f"{model}.{tag}" if tag else model)
    assert_as_transformed(prepared(patches, preprocessing), transformed(patches, transform))


BICUBIC = InterpolationMode.BICUBIC
IMAGENET = (ToTensor(), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
OF_PAGES = {  # of the models' pages; what Virchow's config.json means is `create_transform`'s
    "uni": Compose([Resize(224), CenterCrop(224), *IMAGENET]),
    "uni2-h": Compose([Resize(224), CenterCrop(224), *IMAGENET]),
    "virchow": create_transform((3, 224, 224), interpolation="bicubic", crop_pct=1.0),
    "virchow2": create_transform((3, 224, 224), interpolation="bicubic", crop_pct=1.0),
    "prov-gigapath": Compose([Resize(256, BICUBIC), CenterCrop(224), *IMAGENET]),
}


@pytest.mark.parametrize("name", OF_PAGES)
def test_patches_are_prepared_as_on_the_page_of_a_pathology_model(
    patches: np.ndarray, name: str
) -> None:
    theirs = transformed(patches, OF_PAGES[name])
    assert_as_transformed(prepared(patches, CONFIGS[name].preprocessing), theirs)


@pytest.mark.parametrize("name", ["h-optimus-0", "h-optimus-1"])
def test_patches_of_224_px_are_not_resized_for_h_optimus(patches: np.ndarray, name: str) -> None:
    own = Normalize((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
    small = np.ascontiguousarray(patches[:, :224, :224])
    theirs = transformed(small, Compose([ToTensor(), own]))
    ours = prepared(small, CONFIGS[name].preprocessing)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("preprocessing", "mean", "std"),
    [
        (hipt.PREPROCESSING, [0.5] * 3, [0.5] * 3),
        (resnet50_layer3.PREPROCESSING, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
def test_patches_that_keep_their_size_are_prepared_exactly(
    patches: np.ndarray, preprocessing: PatchPreprocessing, mean: list[float], std: list[float]
) -> None:
    theirs = transformed(patches, Compose([ToTensor(), Normalize(mean, std)]))
    torch.testing.assert_close(prepared(patches, preprocessing), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((2, 8, 9, 3), np.uint8), ((2, 8, 8, 4), np.uint8), ((8, 8, 3), np.uint8)],
)
def test_what_is_no_batch_of_square_patches_is_refused(shape: tuple[int, ...], kind: type) -> None:
    with pytest.raises(ValueError, match=r"expected patches uint8 \(n, side, side, 3\), got uint8"):
        hipt.PREPROCESSING.cut(np.zeros(shape, kind))


def test_patches_of_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="got float32"):
        hipt.PREPROCESSING.cut(np.zeros((1, 8, 8, 3), np.float32))
