"""A text asks for patches, embedded by the network that embedded them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from patches import real_patches
from PIL import Image
from tiny_clip import MODEL, add_tiny_clip, save_tiny_clip

from tumorbase.models.encoders import Runtime
from tumorbase.models.open_clip_models import OpenClipEncoder
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.server.cli import main

NAME = f"open-clip-{MODEL}"
TEXT = "a photo of a tumour"


def tumorbase(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    add_tiny_clip(folder)
    save_tiny_clip(folder)
    return folder


@pytest.fixture(scope="module")
def tiles(shared: Path) -> np.ndarray:
    """Four patches, which are the two tiles of P1 and P2 cut in half."""
    return real_patches(shared, 4)


@pytest.fixture(scope="module")
def store(weights: Path, tiles: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tiles, embedded by NAME and by what is built in."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "slides").mkdir()
    for patient, halves in (("P1", tiles[:2]), ("P2", tiles[2:])):
        Image.fromarray(np.concatenate(halves, axis=1)).save(folder / f"slides/{patient}.png")
    ingest = ("ingest", folder / "slides", "--source", "slides", "--store", folder / "store")
    encoders = ("--encoder", NAME, "--encoder", "stain-texture", "--weights", weights)
    result = tumorbase(*ingest, *encoders, "--mpp", 0.5, "--workers", 1, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    return folder / "store"


def similar(store: Path, *words: object) -> Result:
    return tumorbase("similar", "--level", "patch", "--store", store, *words, "--json")


def hits(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_patches_come_by_their_distance_to_the_text(
    store: Path, weights: Path, tiles: np.ndarray
) -> None:
    encoder = OpenClipEncoder(NAME, Runtime(weights=weights))
    distances = 1.0 - encoder.encode(list(tiles)) @ encoder.encode_text([TEXT])[0]
    ids = ["P1/0_0", "P1/256_0", "P2/0_0", "P2/256_0"]
    expected = sorted(zip(distances, ids, strict=True))
    found = hits(similar(store, "--text", TEXT, "--weights", weights))
    assert found["encoder"] == PatchGeometry().bind(encoder.spec).encoder_id
    assert [hit["id"] for hit in found["hits"]] == [identifier for _, identifier in expected]
    np.testing.assert_allclose(
        [hit["distance"] for hit in found["hits"]], [d for d, _ in expected], atol=1e-4
    )


def test_the_weights_are_found_by_the_variable_too(
    store: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORBASE_WEIGHTS", str(weights))
    assert len(hits(similar(store, "--text", TEXT))["hits"]) == 4


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("stain-texture", "no patch encoder in this store embeds text"),
        (NAME, f"weights of {NAME} not found"),
    ],
)
def test_a_text_that_cannot_be_embedded_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, message: str
) -> None:
    monkeypatch.delenv("TUMORBASE_WEIGHTS", raising=False)
    result = similar(store, "--text", TEXT, "--encoder", encoder, "--weights", tmp_path)
    assert result.exit_code == 1
    assert message in result.stderr


def test_other_weights_than_those_of_the_patches_are_refused(store: Path, tmp_path: Path) -> None:
    save_tiny_clip(tmp_path, seed=1)
    result = similar(store, "--text", TEXT, "--weights", tmp_path)
    assert result.exit_code == 1
    assert f"the weights of {NAME} found here make it {NAME}-1-" in result.stderr


def test_a_pooled_vector_is_not_in_the_space_of_texts(store: Path, weights: Path) -> None:
    words = ("--level", "slide", "--text", TEXT, "--weights", weights)
    result = tumorbase("similar", "--store", store, *words)
    assert result.exit_code == 1
    assert "no slide encoder in this store embeds text" in result.stderr


def test_a_server_finds_its_weights_by_itself(weights: Path) -> None:
    words = ("--level", "patch", "--text", TEXT, "--weights", weights)
    result = tumorbase("similar", "--server", "127.0.0.1:1", *words)
    assert result.exit_code == 2
    assert "give it $TUMORBASE_WEIGHTS" in result.stderr
