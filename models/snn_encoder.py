"""The encoder of genomic profiles by a trained SNN: the output of its last block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor, nn

from tumorbase.models.checkpoints import read_notes, read_state
from tumorbase.models.encoders import Runtime
from tumorbase.models.genomic_profile import GenomicProfile
from tumorbase.models.network_encoder import NetworkEncoder, load_published, network_spec
from tumorbase.models.published import PUBLISHED
from tumorbase.models.snn import SNN
from tumorbase.models.weights import find_weights

BATCH_SIZE = 1024
MIN_SHARE = 0.5  # of the network's columns that a profile must have


class SnnEncoder(NetworkEncoder):
    """Embeds profiles of any panel by the columns that the network was trained on.

    The file of weights, .safetensors, holds beside the network's tensors `input_mean` and
    `input_deviation`, float32 (columns,), by which a profile is standardised, and in its metadata
    the JSON texts `columns`, their names in order, and `config`, {"input_dim": .., "size": ..}. A
    value that is missing is taken as the mean.
    """

    def __init__(self, name: str, runtime: Runtime) -> None:
        """The encoder of the weights `name`.

        Raises:
            ValueError: the weights are not found, or do not state their columns and by what these
                are standardised.
        """
        weights = PUBLISHED[name]
        found = find_weights(weights, runtime.weights)
        self._columns = _columns(found.path)
        self._mean, self._deviation = _statistics(found.path, len(self._columns))
        preprocessing = {"standardised": "by the file", "missing": "mean"}
        spec = network_spec(weights, found.sha256, "profile", preprocessing)
        super().__init__(
            spec,
            lambda: _Features(cast(SNN, load_published(weights, found))),
            self._standardised,
            runtime,
            BATCH_SIZE,
        )

    def _standardised(self, batch: Sequence[GenomicProfile]) -> tuple[np.ndarray, ...]:
        measured = np.stack([self._aligned(profile) for profile in batch])  # (batch, columns)
        scores = (measured - self._mean) / self._deviation
        return (np.nan_to_num(scores, nan=0.0).astype(np.float32),)

    def _aligned(self, profile: GenomicProfile) -> np.ndarray:
        """Values of the network's columns, NaN where the profile has none.

        Raises:
            ValueError: it has less than half of them.
        """
        value_of = dict(zip(profile.columns, profile.values, strict=True))
        present = sum(column in value_of for column in self._columns)
        if present < MIN_SHARE * len(self._columns):
            raise ValueError(
                f"expected at least half of the {len(self._columns)} columns of {self.spec.name}, "
                f"got {present}"
            )
        return np.array([value_of.get(column, np.nan) for column in self._columns])


def _columns(path: Path) -> tuple[str, ...]:
    """Names of the columns that a file of weights states.

    Raises:
        ValueError: it states none, anything but a list of names, or not as many as its network has
            inputs.
    """
    notes = read_notes(path)
    columns, config = notes.get("columns", []), notes.get("config")
    is_list = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    if not is_list or not columns:
        got = f"{len(columns)} columns" if is_list else f"{columns!r}"
        raise ValueError(f"{path}: expected columns, a list of names, in its metadata, got {got}")
    inputs = config.get("input_dim") if isinstance(config, dict) else None
    if inputs not in (None, len(columns)):
        raise ValueError(
            f"{path}: expected a column for each input of its network, got {len(columns)} columns "
            f"and the input_dim {inputs!r}"
        )
    return tuple(columns)


def _statistics(path: Path, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations of the columns that a file of weights holds, each (columns,).

    Raises:
        ValueError: one is missing or not of so many columns, a value is not finite, or a deviation
            not above 0.
    """
    state = read_state(path)
    found = [state.get(name) for name in ("input_mean", "input_deviation")]
    if any(values is None or values.shape != (columns,) for values in found):
        raise ValueError(
            f"{path}: expected input_mean and input_deviation of each of its {columns} columns"
        )
    mean, deviation = (cast(Tensor, values).float().numpy() for values in found)
    if not np.isfinite([mean, deviation]).all() or not (deviation > 0).all():
        raise ValueError(
            f"{path}: expected finite values in input_mean and input_deviation, and deviations "
            "above 0"
        )
    return mean, deviation


class _Features(nn.Module):
    """An SNN without its classifier."""

    def __init__(self, network: SNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, profiles: Tensor) -> Tensor:
        return self.network.features(profiles)
