"""What holds for encoders that are networks, whatever the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from golden import save_weights
from tumorbase.models.encoders import EncoderSpec, Runtime
from tumorbase.models.network_encoder import NetworkEncoder, load_published
from tumorbase.models.networks import build
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import UnusableWeights, find_weights

ITEMS = np.arange(6.0, dtype=np.float32).reshape(3, 2)


def encoder(
    load: Callable[[], nn.Module], batch_size: int, is_compiled: bool = False
) -> NetworkEncoder:
    spec = EncoderSpec("net", "1", "patch", 2, "", "{}")
    runtime = Runtime(is_compiled=is_compiled)
    return NetworkEncoder(spec, load, lambda batch: (np.stack(batch),), runtime, batch_size)


@pytest.mark.parametrize(("batch_size", "times"), [(1, 0), (2, 1)])
def test_what_takes_items_one_by_one_is_not_compiled_for_each_of_their_shapes(
    batch_size: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []

    def compile_(network: nn.Module, **_: Any) -> nn.Module:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_)
    vectors = encoder(nn.Identity, batch_size, is_compiled=True).encode(list(ITEMS))
    np.testing.assert_array_equal(vectors, ITEMS)
    assert len(compiled) == times


def test_a_network_is_loaded_once_however_many_threads_ask() -> None:
    loaded: list[nn.Module] = []

    def load() -> nn.Module:
        loaded.append(nn.Identity())
        return loaded[-1]

    made = encoder(load, 2)
    assert not loaded
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(made.encode, 8 * [list(ITEMS)]):
            np.testing.assert_array_equal(vectors, ITEMS)
    assert len(loaded) == 1


def test_weights_that_changed_since_they_were_found_are_not_loaded(tmp_path: Path) -> None:
    """Their vectors would lie under the name of the former."""
    weights = PUBLISHED["hipt-vit4k"]
    save_weights(weights.name, tmp_path)
    found = find_weights(weights, tmp_path)
    load_published(weights, found)
    save_file(build(weights.network).state_dict(), found.path)
    with pytest.raises(ValueError, match="changed while it was in use"):
        load_published(weights, found)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"input_dim": 2, "size": "huge"}, "snn cannot be built of .*'huge'.*: size must be one"),
        ({"depth": 3}, "snn cannot be built of .*'depth': 3.*: .* unexpected keyword"),
        ([3], r"expected config to be an object, got \[3\]"),
    ],
)
def test_a_configuration_that_is_not_the_networks_is_told_with_its_file(
    config: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "snn.safetensors"
    save_file({"weight": torch.zeros(1)}, path, {"config": json.dumps(config)})
    with pytest.raises(UnusableWeights, match=f"{path}: {message}"):
        load_published(PUBLISHED["snn"], find_weights(PUBLISHED["snn"], tmp_path))


def test_no_items_have_no_vectors_and_load_nothing() -> None:
    vectors = encoder(lambda: pytest.fail("it was loaded"), 2).encode([])
    assert (vectors.dtype, vectors.shape) == (np.float32, (0, 2))
