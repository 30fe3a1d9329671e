"""The encoder of genomic profiles by a trained SNN: the output of its last block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from torch import Tensor, nn

from tumorbase.models.checkpoints import read_notes, read_state
from tumorbase.models.encoders import EncoderSpec, Runtime, canonical
from tumorbase.models.genomic_profile import GenomicProfile
from tumorbase.models.network_encoder import NetworkEncoder, load_published
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
            ValueError: the weights are not found, or do not state their columns.
        """
        weights = PUBLISHED[name]
        found = find_weights(weights, runtime.weights)
        state, notes = read_state(found.path), read_notes(found.path)
        self._columns = tuple(notes.get("columns", ()))
        statistics = [state.get(key) for key in ("input_mean", "input_deviation")]
        if not self._columns or any(s is None or len(s) != len(self._columns) for s in statistics):
            raise ValueError(
                f"{found.path}: expected columns in its metadata, and input_mean and "
                f"input_deviation of each, got {len(self._columns)} columns"
            )
        self._mean, self._deviation = (cast(Tensor, values).numpy() for values in statistics)
        spec = EncoderSpec(
            name=name,
            version="1",
            level="profile",
            dim=weights.dim,
            weights_sha256=found.sha256,
            preprocessing=canonical({"standardised": "by the file", "missing": "mean"}),
        )
        super().__init__(
            spec,
            lambda: _Features(cast(SNN, load_published(weights, found.path))),
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


class _Features(nn.Module):
    """An SNN without its classifier."""

    def __init__(self, network: SNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, profiles: Tensor) -> Tensor:
        return self.network.features(profiles)
