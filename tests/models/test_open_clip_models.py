"""CLIP models of open_clip embed patches and texts as they do there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hub import cached_repository
from patches import real_patches
from PIL import Image
from tiny_clip import MODEL, add_tiny_clip, save_tiny_clip

from golden import state_shapes
from tumorbase.models.encoders import Runtime
from tumorbase.models.networks import build
from tumorbase.models.open_clip_models import OpenClipEncoder
from tumorbase.models.published import describe

TEXTS = ["a photo of a tumour", "adipose tissue", "word " * 200]


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    add_tiny_clip(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(weights: Path) -> Any:
    return save_tiny_clip(weights)


@pytest.fixture(scope="module")
def encoder(theirs: Any, weights: Path) -> OpenClipEncoder:
    return OpenClipEncoder(f"open-clip-{MODEL}", Runtime(weights=weights))


@pytest.mark.parametrize("kind", ["", "-custom", "-coca"])
def test_networks_are_those_of_open_clip(kind: str) -> None:
    ours, theirs = build("open_clip", model=MODEL + kind), open_clip.create_model(MODEL + kind)
    assert state_shapes(ours) == state_shapes(theirs)
    assert repr(ours) == repr(theirs)


@torch.inference_mode()
def test_patches_embed_as_in_open_clip(shared: Path, theirs: Any, encoder: OpenClipEncoder) -> None:
    patches = real_patches(shared, 4)
    transform = open_clip.image_transform(64, is_train=False)
    images = torch.stack([transform(Image.fromarray(patch)) for patch in patches])
    expected = theirs.encode_image(images, normalize=True).numpy()
    vectors = encoder.encode(list(patches))
    assert encoder.spec.dim == 32
    # Patches are resized to within two grey levels of Pillow's result.
    assert (vectors * expected).sum(axis=1).min() > 0.99999
    assert (vectors @ expected.T).min() < 0.999


@torch.inference_mode()
def test_texts_embed_as_in_open_clip(theirs: Any, encoder: OpenClipEncoder) -> None:
    tokens = open_clip.get_tokenizer(MODEL)(TEXTS)
    expected = theirs.encode_text(tokens, normalize=True).numpy()
    vectors = encoder.encode_text(TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 32))
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)


def test_weights_of_openai_get_their_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    def published(_: str, tag: str) -> dict[str, bool]:
        return {"quick_gelu": tag == "openai"}

    monkeypatch.setattr(open_clip, "get_pretrained_cfg", published)
    networks = [build("open_clip", model=f"{MODEL}{tag}") for tag in (".openai", ".laion2b", "")]
    kinds = [type(network.visual.transformer.resblocks[0].mlp.gelu) for network in networks]
    assert [kind.__name__ for kind in kinds] == ["QuickGELU", "GELU", "GELU"]


def test_weights_are_described_by_their_place_on_the_hub() -> None:
    weights = describe("open-clip-ViT-B-32.laion2b_s34b_b79k")
    assert weights.hub
    assert weights.hub.repository == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert weights.hub.path == "open_clip_model.safetensors"
    assert (weights.dim, weights.is_commercial) == (512, False)


@torch.inference_mode()
def test_a_repository_of_the_hub_is_an_encoder_of_patches_and_texts(
    theirs: Any, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cached_repository("owner/clip", tmp_path, monkeypatch)
    told = {
        "model_cfg": json.loads((weights / f"{MODEL}.json").read_text()),
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.5]},
    }
    (files / "open_clip_config.json").write_text(json.dumps(told))
    torch.save(theirs.state_dict(), files / "open_clip_pytorch_model.bin")
    made = OpenClipEncoder("open-clip-hf-hub:owner/clip", Runtime())
    expected = theirs.encode_text(open_clip.get_tokenizer(MODEL)(TEXTS), normalize=True).numpy()
    np.testing.assert_allclose(made.encode_text(TEXTS), expected, rtol=1e-5, atol=1e-6)
    assert made.encode([np.zeros((64, 64, 3), np.uint8)]).shape == (1, 32)
    assert json.loads(made.spec.preprocessing)["mean"] == [0.5, 0.4, 0.3]
    (files / "open_clip_config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match=r"got none of \['embed_dim', 'text_cfg', 'vision_cfg'\]"):
        describe("open-clip-hf-hub:owner/clip")


def test_a_tokenizer_that_is_not_to_be_had_is_told(
    encoder: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise ImportError("No module named 'transformers'")

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    with pytest.raises(ValueError, match=f"no tokenizer of {MODEL} is to be had: No module"):
        encoder.encode_text(TEXTS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open-clip-ViT-Z-1", "open_clip knows no model 'ViT-Z-1'"),
        ("open-clip-local-dir:/etc", "open_clip knows no model 'local-dir:/etc'"),
        ("open-clip-RN50.magic", "knows no weights 'magic' of RN50, but openai, "),
        ("open-clip-roberta-ViT-B-32", "a text tower of the hub is not supported"),
    ],
)
def test_names_that_open_clip_does_not_know_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(name)
