"""Slide vectors: mean and deviation of the slide's patches or regions, gathered as they come."""

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
        self.count = 0.0  # the sum of their weights
        self._mean = np.zeros(dim)
        self._squared_deviations = np.zeros(dim)

    def add(self, vectors: np.ndarray, weight: float = 1.0) -> None:
        """Take in a batch, (n, dim), each of this weight; n may be 0."""
        if len(vectors) == 0:
            return
        mean = vectors.mean(axis=0, dtype=np.float64)
        # About the batch's own mean single precision is enough, and half the memory.
        centred = vectors - mean.astype(vectors.dtype)
        squared = weight * np.einsum("nd,nd->d", centred, centred, dtype=np.float64)
        added = weight * len(vectors)
        total = self.count + added
        shift = mean - self._mean
        self._squared_deviations += squared + shift**2 * (self.count * added / total)
        self._mean += shift * (added / total)
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


def slide_spec(part: EncoderSpec) -> EncoderSpec:
    """The spec of slide vectors pooled from those of its parts, patches or regions."""
    names = part.feature_names
    return replace(
        part,
        name=f"{part.name}{POOLED_SUFFIX}",
        level="slide",
        dim=len(STATISTICS) * part.dim,
        preprocessing=canonical(
            {"parts": json.loads(part.preprocessing), "pooling": list(STATISTICS)}
        ),
        feature_names=tuple(f"{name}_{how}" for how in STATISTICS for name in names),
    )
