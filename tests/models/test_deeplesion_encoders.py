"""The DeepLesion networks as encoders: right, and bound to weights and preprocessing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from golden import fill, save_weights, seeded
from tumorbase.models.body_part_slice import body_part_slice
from tumorbase.models.deeplesion_patch import deeplesion_patch
from tumorbase.models.encoders import Runtime, build_encoder
from tumorbase.models.lesion_crop import LesionCrop, LesionInVolume, LesionMeasure, input_kind
from tumorbase.models.networks import build

pytestmark = pytest.mark.usefixtures("one_thread")

PIXEL_MM = {"lesion-graph": 0.8, "lesanet": 1.0}
DIM = {"lesion-graph": 1408, "lesanet": 256}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Where the three networks find weights that stand in for trained ones."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("lesion-graph", "lesanet", "ssbr"):
        save_weights(name, folder)
    return Runtime(weights=folder)


@pytest.fixture
def lesions() -> list[LesionInVolume]:
    """Three in one volume of noise."""
    volume = seeded(0).integers(-1100, 1500, (7, 90, 80)).astype(np.float32)
    boxes = [(10.0, 20.0, 40.0, 50.0), (30.0, 30.0, 45.0, 42.0), (60.0, 70.0, 79.0, 89.0)]
    spacing_mm = (2.5, 0.9, 0.9)
    return [LesionInVolume(volume, 2 * n, box, spacing_mm) for n, box in enumerate(boxes)]


@pytest.mark.parametrize("name", ["lesion-graph", "lesanet"])
def test_vectors_are_those_of_the_network_of_unit_length(
    runtime: Runtime, lesions: list[LesionInVolume], name: str
) -> None:
    encoder = build_encoder(name, runtime)
    vectors = encoder.encode(lesions)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, DIM[name]) == (3, encoder.spec.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    patches = [deeplesion_patch(lesion, PIXEL_MM[name]) for lesion in lesions]
    with torch.inference_mode():
        output = fill(build(name.replace("-", "_")))(
            torch.from_numpy(np.stack([patch.image for patch in patches])),
            torch.from_numpy(np.stack([patch.box_px for patch in patches])),
        )
    expected = output.embedding if name == "lesanet" else output
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(lesions[1:2])[0], vectors[1], rtol=1e-4, atol=1e-6)


def test_body_part_is_the_bare_score_of_the_key_slice(
    runtime: Runtime, lesions: list[LesionInVolume]
) -> None:
    encoder = build_encoder("ssbr", runtime)
    scores = encoder.encode(lesions)
    slices = np.stack([body_part_slice(one.volume[one.key_slice]) for one in lesions])
    with torch.inference_mode():
        expected = fill(build("ssbr"))(torch.from_numpy(slices))
    np.testing.assert_allclose(scores, expected[:, None], rtol=1e-4)
    assert encoder.spec.level == "body_part"


@pytest.mark.parametrize(("name", "dim"), [("lesion-graph", 1408), ("lesanet", 256), ("ssbr", 1)])
def test_no_lesion_makes_no_vector(runtime: Runtime, name: str, dim: int) -> None:
    assert build_encoder(name, runtime).encode([]).shape == (0, dim)


def test_vectors_are_bound_to_pixel_size_and_weights(runtime: Runtime, tmp_path: Path) -> None:
    spec = build_encoder("lesanet", runtime).spec
    preprocessing = json.loads(spec.preprocessing)
    assert preprocessing["pixel_mm"] == 1.0
    assert preprocessing["window_hu"] == [-1024, 3071]
    state = fill(build("lesanet")).state_dict()
    state["fc_emb.bias"] += 1
    # As the reference saves it, from several GPUs.
    checkpoint = {"epoch": 3, "state_dict": {f"module.{key}": v for key, v in state.items()}}
    torch.save(checkpoint, tmp_path / "lesanet.tar")
    other = build_encoder("lesanet", replace(runtime, weights=tmp_path))
    assert other.spec.encoder_id != spec.encoder_id
    assert other.spec.preprocessing == spec.preprocessing


@pytest.mark.parametrize("name", ["lesion-graph", "lesanet", "ssbr"])
def test_missing_weights_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"weights of {name} not found"):
        build_encoder(name, Runtime(weights=tmp_path))


def test_encoders_say_what_they_take(runtime: Runtime) -> None:
    assert input_kind(build_encoder("radiomics")) is LesionCrop
    assert input_kind(build_encoder("measurement")) is LesionMeasure
    assert input_kind(build_encoder("ssbr", runtime)) is LesionInVolume
    assert input_kind(object()) is LesionCrop  # a plugged-in encoder that says nothing
