"""What holds for encoders that are networks, whatever the network."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tumorbase.models.encoders import EncoderSpec, Runtime
from tumorbase.models.network_encoder import NetworkEncoder

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


def test_no_items_have_no_vectors_and_load_nothing() -> None:
    vectors = encoder(lambda: pytest.fail("it was loaded"), 2).encode([])
    assert (vectors.dtype, vectors.shape) == (np.float32, (0, 2))
