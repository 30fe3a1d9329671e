"""Models of timm, by the names they have there and by repositories of the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hub import REVISION, cached_repository

from golden import fill
from tumorbase.models import timm_models
from tumorbase.models.encoders import Runtime
from tumorbase.models.published import describe
from tumorbase.models.timm_models import timm_encoder, timm_preprocessing
from tumorbase.models.weights import UnusableWeights

ARGUMENTS = {"embed_dim": 32, "num_heads": 2, "init_values": 1e-5, "num_classes": 5}
CONFIG: dict[str, Any] = {
    "architecture": "test_vit",
    "num_features": 32,
    "model_args": ARGUMENTS,
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "fixed_input_size": True,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": [0.7, 0.6, 0.7],
        "std": [0.2, 0.3, 0.2],
        "classifier": "head",
        "license": "cc-by-nc-4.0",
        "from_the_future": 1,
    },
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of owner/net in the hub's cache: a network that timm does not know by a name."""
    files = cached_repository("owner/net", tmp_path, monkeypatch)
    (files / "config.json").write_text(json.dumps(CONFIG))
    network = timm.create_model("test_vit", **ARGUMENTS)
    torch.save(fill(network).state_dict(), files / "pytorch_model.bin")
    return files


def test_a_model_that_gives_tokens_is_refused() -> None:
    message = r"qwen3_vit_416m_enc: expected one vector an image, got an output of \(1, 576, 5120\)"
    with pytest.raises(ValueError, match=message):
        describe("timm-qwen3_vit_416m_enc")


def test_a_model_is_built_once_to_be_described(monkeypatch: pytest.MonkeyPatch) -> None:
    first = describe("timm-test_vit.r160_in1k")
    monkeypatch.setattr(timm_models, "timm_network", None)
    assert describe("timm-test_vit.r160_in1k") == first
    assert first.dim == 64


@pytest.mark.parametrize("name", ["timm-hf-hub:owner/net", f"timm-hf-hub:owner/net@{REVISION}"])
@torch.inference_mode()
def test_a_repository_of_the_hub_is_an_encoder(name: str, repository: Path) -> None:
    made = timm_encoder(name, Runtime())
    patches = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    theirs = timm.create_model("test_vit", **ARGUMENTS).eval()
    theirs.load_state_dict(torch.load(repository / "pytorch_model.bin"))
    mean, std = (
        torch.tensor(CONFIG["pretrained_cfg"][k]).reshape(3, 1, 1) for k in ("mean", "std")
    )
    images = (torch.from_numpy(patches).permute(0, 3, 1, 2) / 255 - mean) / std
    expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True).numpy()
    np.testing.assert_allclose(made.encode(list(patches)), expected, rtol=1e-4, atol=1e-5)
    described = describe(name)
    assert (described.dim, described.source) == (32, "Hugging Face owner/net")
    assert described.licence.startswith("cc-by-nc-4.0")
    assert set(made.spec.encoder_id) & set("/:@") == set()


def test_older_repositories_describe_all_at_one_level(repository: Path) -> None:
    config = {"architecture": "test_vit", **CONFIG["pretrained_cfg"]}
    (repository / "config.json").write_text(json.dumps(config))
    assert timm_preprocessing("hf-hub:owner/net").mean == (0.7, 0.6, 0.7)
    assert describe("timm-hf-hub:owner/net").dim == 64


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("<html>", "config.json: expected JSON"),
        ("[1]", r"config.json: expected a JSON object, got \[1\]"),
        ('{"architectures": ["Dinov2Model"]}', "expected an architecture of timm, got None"),
        (json.dumps(CONFIG | {"model_args": {"wings": 2}}), "timm cannot make it: .*wings"),
    ],
)
def test_what_describes_no_model_of_timm_is_refused(
    config: str, message: str, repository: Path
) -> None:
    (repository / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        describe("timm-hf-hub:owner/net")


def test_a_repository_that_is_not_cached_is_told_with_how_to_fetch_it(repository: Path) -> None:
    for name, fetched in (
        ("owner/other", "hf download owner/other$"),
        ("owner/other@v1", "hf download owner/other --revision v1$"),
    ):
        with pytest.raises(UnusableWeights, match=f"not in the hub's cache; .*: {fetched}"):
            describe(f"timm-hf-hub:{name}")
    with pytest.raises(ValueError, match="expected hf-hub:OWNER/NAME or "):
        describe("timm-hf-hub:net")
    (repository / "pytorch_model.bin").unlink()
    with pytest.raises(
        UnusableWeights, match=r"put timm-hf-hub_owner_net\.safetensors into .*: hf"
    ):
        timm_encoder("timm-hf-hub:owner/net", Runtime())
