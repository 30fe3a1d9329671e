"""Published transformers of pathology: as timm builds them from what their authors say."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hub import cached_repository
from patches import real_patches
from timm.layers import GluMlp, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from golden import fill, save_weights, state_shapes
from tumorbase.models.encoders import ENCODERS, Runtime, build_encoder
from tumorbase.models.networks import build
from tumorbase.models.pathology_vits import CONFIGS
from tumorbase.models.published import PUBLISHED, describe
from tumorbase.models.timm_models import timm_encoder
from tumorbase.models.weights import find_weights

pytestmark = pytest.mark.usefixtures("one_thread")

SWIGLU: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
VIRCHOW = ("vit_huge_patch14_224", {"mlp_ratio": 5.3375, "global_pool": "", **SWIGLU})
H_OPTIMUS = ("vit_giant_patch14_reg4_dinov2", {"global_pool": "token"})
# The architecture of timm, and what its arguments are by the model's page beside those of all.
PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "uni": ("vit_large_patch16_224", {"patch_size": 16}),
    "uni2-h": (
        "vit_giant_patch14_224",
        {
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            **SWIGLU,
        },
    ),
    "virchow": VIRCHOW,
    "virchow2": (VIRCHOW[0], {"reg_tokens": 4, **VIRCHOW[1]}),
    "prov-gigapath": (
        "vit_giant_patch14_dinov2",
        {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp_ratio": 5.33334},
    ),
    "h-optimus-0": H_OPTIMUS,
    "h-optimus-1": H_OPTIMUS,
}
OF_ALL: dict[str, Any] = {
    "img_size": 224,
    "init_values": 1e-5,
    "num_classes": 0,
    "dynamic_img_size": True,
}
PARAMETERS = {  # as counted by users of the published files
    "uni": 303_350_784,
    "uni2-h": 681_394_176,
    "virchow": 631_229_184,
    "virchow2": 631_239_424,
    "prov-gigapath": 1_134_953_984,
    "h-optimus-0": 1_134_774_272,
    "h-optimus-1": 1_134_774_272,
}


def of_timm(name: str, **changes: Any) -> nn.Module:
    """The network as timm builds it of the arguments on its page."""
    architecture, arguments = PAGES[name]
    return timm.create_model(architecture, **{**OF_ALL, **arguments, **changes})


@pytest.mark.parametrize("name", PAGES)
def test_state_size_and_dimension_are_those_of_the_published_network(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = build("pathology_vit", model=name).eval(), of_timm(name)
        with torch.inference_mode():
            vectors = ours(torch.empty(2, 3, 224, 224))
    assert state_shapes(ours) == state_shapes(theirs)
    assert sum(parameter.numel() for parameter in ours.parameters()) == PARAMETERS[name]
    assert vectors.shape == (2, describe(name).dim)


def test_h_optimus_is_the_network_of_its_release() -> None:
    """Source: bioptimus/releases, models/h-optimus/v0/README.md."""
    with torch.device("meta"):
        released = VisionTransformer(
            patch_size=14,
            embed_dim=1536,
            depth=40,
            num_heads=24,
            init_values=1e-5,
            mlp_ratio=5.33334,
            mlp_layer=partial(GluMlp, act_layer=nn.SiLU, gate_last=False),
            act_layer=nn.SiLU,
            reg_tokens=4,
            no_embed_class=True,
            img_size=224,
            num_classes=0,
        )
        assert state_shapes(build("pathology_vit", model="h-optimus-0")) == state_shapes(released)


def embedding(name: str, output: Tensor) -> Tensor:
    """The vectors that the model's page makes of what timm's network gives."""
    if name == "virchow":
        return torch.cat([output[:, 0], output[:, 1:].mean(1)], dim=-1)
    if name == "virchow2":
        return torch.cat([output[:, 0], output[:, 5:].mean(1)], dim=-1)
    return output


@pytest.mark.parametrize("name", PAGES)
@torch.inference_mode()
def test_files_become_encoders_that_embed_as_the_page_says(
    name: str, shared: Path, tmp_path: Path
) -> None:
    path = save_weights(name, tmp_path, depth=1)
    made = build_encoder(name, Runtime(weights=tmp_path))
    patches = real_patches(shared, 3)
    vectors = made.encode(list(patches))
    assert (made.spec.level, made.spec.dim) == ("patch", PUBLISHED[name].dim)
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, made.spec.dim))
    assert made.spec.weights_sha256 == find_weights(PUBLISHED[name], path.parent).sha256
    preprocessing = CONFIGS[name].preprocessing
    pixels = torch.from_numpy(preprocessing.cut(patches)).permute(0, 3, 1, 2) / 255
    mean, std = (
        torch.tensor(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    expected = embedding(name, fill(of_timm(name, depth=1))((pixels - mean) / std)).numpy()
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-2)
    # Alone or among others, a patch has the same vector.
    np.testing.assert_allclose(made.encode([patches[1]]), vectors[1:2], rtol=1e-3, atol=1e-4)


def test_all_are_encoders_and_described() -> None:
    assert set(CONFIGS) == set(PAGES)
    for name in CONFIGS:
        assert ENCODERS[name].weights == (name,)
        assert PUBLISHED[name].config == {"model": name}


def test_an_unknown_one_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"model must be one of uni, uni2-h, .*, got 'uni3'"):
        build("pathology_vit", model="uni3")


def test_missing_weights_are_told_with_where_to_ask_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_repository("owner/net", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"weights of uni2-h not found: put uni2-h\.bin") as caught:
        build_encoder("uni2-h", Runtime())
    for part in (
        "Hugging Face MahmoodLab/UNI2-h, gated: accept its terms there first",
        "hf download MahmoodLab/UNI2-h pytorch_model.bin",
        "CC BY-NC-ND 4.0",
        "not for commercial use",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_their_repositories_are_read_under_their_own_names_alone(name: str) -> None:
    hub = PUBLISHED[name].hub
    assert hub
    for repository in (hub.repository, hub.repository.lower(), f"{hub.repository}@v1"):
        with pytest.raises(ValueError, match=f"use the encoder {name}$"):
            timm_encoder(f"timm-hf-hub:{repository}", Runtime())
