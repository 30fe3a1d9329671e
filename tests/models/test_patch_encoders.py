"""Networks of timm and torchvision, and ResNet-50 cut off, as encoders of patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from patches import real_patches
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model, resnet50

from golden import save_weights
from tumorbase.ingest.patches import BLOCK_PX
from tumorbase.models.checkpoints import load_into
from tumorbase.models.encoders import Runtime
from tumorbase.models.networks import build
from tumorbase.models.patch_encoders import PatchEncoder, published_patch_encoder
from tumorbase.models.published import describe
from tumorbase.models.timm_models import timm_encoder
from tumorbase.models.torchvision_models import (
    ShapesOnly,
    torchvision_encoder,
    torchvision_preprocessing,
)

ENCODERS = {
    "hipt-vit256": (published_patch_encoder, 384),
    "resnet50-layer3": (published_patch_encoder, 1024),
    "timm-resnet10t": (timm_encoder, 512),
    "timm-vit_tiny_patch16_224.augreg_in21k": (timm_encoder, 192),
    "torchvision-resnet18.IMAGENET1K_V1": (torchvision_encoder, 512),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ENCODERS:
        save_weights(name, folder)
    return folder


@pytest.fixture(scope="module")
def patches(shared: Path) -> np.ndarray:
    return real_patches(shared, 5)


def encoder(name: str, weights: Path) -> PatchEncoder:
    factory, _ = ENCODERS[name]
    return factory(name, Runtime(weights=weights))


def with_weights_of(whole: nn.Module, name: str) -> nn.Module:
    """The described network, in eval mode, with the weights of one that has a classifier too."""
    description = describe(name)
    network = build(description.network, **description.config)
    load_into(network, whole.state_dict(), name, description.left_over)
    return network.eval()


@pytest.mark.parametrize("name", ENCODERS)
def test_patches_become_vectors(name: str, weights: Path, patches: np.ndarray) -> None:
    made, dim = encoder(name, weights), ENCODERS[name][1]
    vectors = made.encode(list(patches))
    assert (made.spec.name, made.spec.level, made.spec.dim) == (name, "patch", dim)
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, dim))
    assert not np.allclose(vectors[2], vectors[3], atol=1e-3)
    # Alone or among others, a patch has the same vector.
    np.testing.assert_allclose(made.encode(list(patches[2:3])), vectors[2:3], rtol=1e-3, atol=1e-4)
    assert made.encode([]).shape == (0, dim)


def test_batches_that_are_filled_up_are_as_large_as_a_block_of_a_slide(weights: Path) -> None:
    compiled, plain = (
        timm_encoder("timm-resnet10t", Runtime("cuda", weights, is_compiled))._batch_size
        for is_compiled in (True, False)
    )
    assert compiled == (BLOCK_PX // 256) ** 2 < plain


@pytest.mark.parametrize("name", ["resnet50-layer3", "timm-resnet10t"])
def test_other_weights_are_another_encoder(name: str, weights: Path, tmp_path: Path) -> None:
    description = describe(name)
    network = build(description.network, **description.config)
    save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    ids = {encoder(name, folder).spec.encoder_id for folder in (weights, tmp_path)}
    assert len(ids) == 2


@torch.inference_mode()
def test_resnet50_layer3_is_torchvisions_cut_off_and_pooled() -> None:
    whole, images = resnet50(weights=None).eval(), torch.randn(2, 3, 96, 96)
    seen: list[torch.Tensor] = []
    whole.layer3.register_forward_hook(lambda *passed: seen.append(passed[-1]))
    whole(images)
    ours = with_weights_of(whole, "resnet50-layer3")
    torch.testing.assert_close(ours(images), seen[0].mean(dim=(2, 3)))


def test_published_files_of_resnet50_leave_layer4_and_fc_over(tmp_path: Path) -> None:
    whole = resnet50(weights=None).state_dict()
    torch.save(whole, tmp_path / "resnet50-layer3.pth")
    made = published_patch_encoder("resnet50-layer3", Runtime(weights=tmp_path))
    assert made.encode(np.zeros((1, 256, 256, 3), np.uint8)).shape == (1, 1024)


@pytest.mark.parametrize(
    "model",
    [
        "resnet10t",
        "vit_tiny_patch16_224",
        "convnext_atto",
        "mobilenetv3_small_050",
        "levit_128s",
        "repvit_m0_9",
    ],
)
@torch.inference_mode()
def test_timm_models_embed_as_they_do_there(model: str, tmp_path: Path) -> None:
    whole = timm.create_model(model, pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / f"timm-{model}.pth")
    made = timm_encoder(f"timm-{model}", Runtime(weights=tmp_path))
    images = torch.randn(1, 3, 224, 224)
    expected = whole.forward_head(whole.forward_features(images), pre_logits=True)
    assert expected.shape[1] == made.spec.dim
    ours = with_weights_of(whole, f"timm-{model}")
    torch.testing.assert_close(ours(images), expected)
    assert made.encode(np.zeros((1, 256, 256, 3), np.uint8)).shape == (1, made.spec.dim)


@pytest.mark.parametrize(
    "model",
    ["resnet18", "densenet121", "efficientnet_b0", "swin_t", "vit_b_16"],
)
@torch.inference_mode()
def test_torchvision_models_embed_what_their_classifier_sees(model: str) -> None:
    whole, images = get_model(model, weights=None).eval(), torch.randn(1, 3, 224, 224)
    description = describe(f"torchvision-{model}")
    seen: list[torch.Tensor] = []
    (classifier,) = description.left_over
    layer = whole.get_submodule(classifier.rstrip("."))
    layer.register_forward_pre_hook(lambda _, passed: seen.append(passed[0]))
    whole(images)
    ours = with_weights_of(whole, f"torchvision-{model}")
    torch.testing.assert_close(ours(images), seen[0])
    assert seen[0].shape == (1, description.dim)


@pytest.mark.parametrize(
    "model",
    [  # of each kind that no test above embeds with; squeezenet is refused
        "alexnet",
        "googlenet",
        "inception_v3",
        "maxvit_t",
        "mnasnet0_5",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "shufflenet_v2_x0_5",
        "vgg11",
    ],
)
@torch.inference_mode()
def test_classifiers_of_torchvision_embed_to_their_stated_size(model: str) -> None:
    description = describe(f"torchvision-{model}")
    pixels = torchvision_preprocessing(model).crop_px
    images = torch.empty(1, 3, pixels, pixels, device="meta")
    with ShapesOnly():
        network = build("torchvision", model=model).to("meta").eval()
    assert network(images).shape == (1, description.dim)


@pytest.mark.parametrize("model", ["googlenet", "inception_v3"])
def test_inception_networks_take_pixels_as_their_published_weights_do(model: str) -> None:
    assert build("torchvision", model=model).transform_input


def test_torchvisions_own_files_are_known_by_their_hash() -> None:
    description = describe("torchvision-resnet50.IMAGENET1K_V1")
    assert (description.file, description.sha256) == ("resnet50-0676ba61.pth", "0676ba61")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm-resnet5000", "timm knows no model 'resnet5000'"),
        ("timm-resnet50.magic", "timm knows no weights 'magic' of resnet50"),
        ("torchvision-fcn_resnet50", "torchvision knows no classifier 'fcn_resnet50'"),
        ("torchvision-resnet50.V9", "knows no weights 'V9' of resnet50, but IMAGENET1K_V1, "),
        ("torchvision-squeezenet1_0", "squeezenet1_0 does not end in a linear layer"),
        ("resnet", "weights must be one of .* timm-MODEL, .* got 'resnet'"),
    ],
)
def test_names_that_no_library_knows_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(name)


def test_missing_weights_are_told_with_their_place() -> None:
    with pytest.raises(ValueError, match=r"put timm-resnet10t.safetensors into .*timm/resnet10t"):
        timm_encoder("timm-resnet10t", Runtime())


def test_transformers_of_torchvision_have_positions_for_the_size_of_their_weights() -> None:
    with torch.device("meta"):
        network = build("torchvision", model="vit_b_16.IMAGENET1K_SWAG_E2E_V1")  # of 384 px
    assert network.encoder.pos_embedding.shape == (1, 1 + 24**2, 768)
