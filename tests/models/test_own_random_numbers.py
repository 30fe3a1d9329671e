"""Networks whose weights come from a file are built without the random numbers of the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_clip import MODEL, add_tiny_clip

from golden import save_weights
from tumorbase.models.network_encoder import load_published
from tumorbase.models.networks import build
from tumorbase.models.own_random_numbers import OwnRandomNumbers
from tumorbase.models.published import PUBLISHED, describe
from tumorbase.models.weights import find_weights

# Those of one class are built alike, whatever their size.
BUILT: dict[str, dict[str, Any]] = {
    "hovernet": {"mode": "fast", "nr_types": 6},
    "snn": {"input_dim": 20},
    "radnet": {"n_classes": 4},
    "open_clip": {"model": MODEL},
    "timm": {"model": "vit_tiny_patch16_224"},
    "torchvision": {"model": "resnet18"},
    **{w.network: dict(w.config) for w in PUBLISHED.values() if "hipt" in w.name},
    **{name: {} for name in ("resnet50_layer3", "lesanet", "lesion_graph", "ssbr")},
}


@pytest.fixture(autouse=True)
def _state(tmp_path: Path) -> Any:
    """The process's numbers are not drawn from."""
    add_tiny_clip(tmp_path)
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", BUILT)
def test_a_network_is_built_of_own_numbers(name: str) -> None:
    with OwnRandomNumbers():
        weights = build(name, **BUILT[name]).state_dict().values()
    assert any(value.float().std() > 0 for value in weights)


def test_weights_are_loaded_without_the_numbers_of_the_process(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    save_weights("timm-resnet10t", tmp_path)
    torch.set_rng_state(before)
    weights = describe("timm-resnet10t")
    load_published(weights, find_weights(weights, tmp_path))


def test_a_generator_of_ones_own_is_drawn_from() -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(5))
    with OwnRandomNumbers():
        assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(5)), expected)
