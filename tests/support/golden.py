"""Golden numbers of the published networks: how `shared/reference/README.md` makes them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tumorbase.models.networks import build
from tumorbase.models.published import describe


def fill(network: nn.Module) -> nn.Module:
    """The network in eval mode with the deterministic fill that stands in for trained weights."""
    state = network.state_dict()
    for key, value in state.items():
        state[key] = _filled(key, value)
    network.load_state_dict(state)
    return network.eval()


def save_weights(name: str, folder: Path, **config: Any) -> Path:
    """A file NAME.safetensors of the described weights `name`, filled as `fill` does; one that says
    `config` of itself, where the network is built otherwise than the published one.
    """
    weights = describe(name)
    state = fill(build(weights.network, **{**weights.config, **config})).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    notes = {"config": json.dumps(config)} if config else None
    save_file({key: value.contiguous().clone() for key, value in state.items()}, path, notes)
    return path


def state_shapes(network: nn.Module) -> list[tuple[str, list[int]]]:
    """Keys and shapes in the order of the state dict."""
    return [(key, list(value.shape)) for key, value in network.state_dict().items()]


def seeded(seed: int) -> np.random.Generator:
    """The generator that inputs named by a seed are drawn from, in the order of the spec."""
    return np.random.Generator(np.random.PCG64(seed))


def assert_golden(ours: Tensor | np.ndarray, golden: np.ndarray, rtol: float = 1e-4) -> None:
    """Equal within `rtol`, and 1e-5 of the golden's largest magnitude."""
    values = ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
    assert values.shape == golden.shape, f"{values.shape} is not {golden.shape}"
    atol = 1e-5 * float(np.abs(golden).max(initial=0.0))
    np.testing.assert_allclose(values, golden, rtol=rtol, atol=atol)


def assert_golden_stats(ours: Tensor, golden: np.ndarray) -> None:
    """Mean, population deviation and largest magnitude of a whole tensor equal the golden's."""
    values = ours.detach().numpy().astype(np.float64)
    mean, deviation, largest = golden
    np.testing.assert_allclose(values.mean(), mean, rtol=1e-3, atol=1e-5 * largest)
    np.testing.assert_allclose(values.std(), deviation, rtol=1e-4)
    np.testing.assert_allclose(np.abs(values).max(), largest, rtol=1e-4)


def _filled(key: str, value: Tensor) -> Tensor:
    shape, leaf = tuple(value.shape), key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros_like(value)
    if not value.is_floating_point() or leaf == "unpool_mat":
        return value
    random = seeded(zlib.crc32(key.encode()))
    normal = random.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    return torch.from_numpy(np.asarray(_scaled(leaf, normal), dtype=np.float32))


def _scaled(leaf: str, v: np.ndarray) -> np.ndarray:
    tenth, is_flat = np.float32(0.1) * v, v.ndim == 1
    if leaf == "running_mean":
        return tenth
    if leaf == "running_var":
        return np.float32(1) + np.abs(tenth)
    if leaf.endswith("weight") and v.ndim >= 2:
        return v * np.float32(1.0 / np.sqrt(np.prod(v.shape[1:])))
    if is_flat and (leaf.endswith("weight") or leaf == "a"):
        return np.float32(1) + tenth
    if leaf.endswith("bias") or (is_flat and leaf == "b"):
        return tenth
    return np.float32(0.02) * v
