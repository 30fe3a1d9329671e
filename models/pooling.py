"""Slide vectors: mean and deviation of the slide's patch vectors, gathered as they stream by."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from tumorbase.models.encoders import POOLED_SUFFIX, EncoderSpec, canonical

STATISTICS = ("mean", "deviation")


class RunningMoments:
    """Mean and deviation of vectors that come in batches; memory does not grow with their number.

    Batches are merged by Chan, Golub & LeVeque (1979), eq. 2.1, in float64.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._mean = np.zeros(dim)
        self._squared_deviations = np.zeros(dim)

    def add(self, vectors: np.ndarray) -> None:
        """Take in a batch, (n, dim); n may be 0."""
        if len(vectors) == 0:
            return
        mean = vectors.mean(axis=0, dtype=np.float64)
        # About the batch's own mean single precision is enough, and half the memory.
        centred = vectors - mean.astype(vectors.dtype)
        squared = np.einsum("nd,nd->d", centred, centred, dtype=np.float64)
        total = self.count + len(vectors)
        shift = mean - self._mean
        self._squared_deviations += squared + shift**2 * (self.count * len(vectors) / total)
        self._mean += shift * (len(vectors) / total)
        self.count = total

    def pooled(self) -> np.ndarray:
        """Means, then population deviations (0 for a single vector): float32 (1, 2 dim).

        Raises:
            ValueError: no vector has come.
        """
        if self.count == 0:
            raise ValueError("nothing to pool: expected at least one vector, got none")
        deviation = np.sqrt(self._squared_deviations / self.count)
        return np.concatenate([self._mean, deviation])[None].astype(np.float32)


def slide_spec(patch_spec: EncoderSpec) -> EncoderSpec:
    """The spec of slide vectors pooled from patch vectors of `patch_spec`."""
    names = patch_spec.feature_names
    return replace(
        patch_spec,
        name=f"{patch_spec.name}{POOLED_SUFFIX}",
        level="slide",
        dim=len(STATISTICS) * patch_spec.dim,
        preprocessing=canonical(
            {"patches": json.loads(patch_spec.preprocessing), "pooling": list(STATISTICS)}
        ),
        feature_names=tuple(f"{name}_{how}" for how in STATISTICS for name in names),
    )
