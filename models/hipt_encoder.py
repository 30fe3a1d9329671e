"""HIPT as an encoder of regions: what both of its levels say of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from torch import Tensor, nn

from tumorbase.models.encoders import EncoderSpec, Runtime, canonical
from tumorbase.models.hipt import DIM_4K, DIM_256, PREPROCESSING, Hipt4K
from tumorbase.models.network_encoder import NetworkEncoder, load_published
from tumorbase.models.patch_tower import PatchTower
from tumorbase.models.published import PUBLISHED
from tumorbase.models.slide_region import PATCHES_A_SIDE, SlideRegion
from tumorbase.models.weights import find_weights

_LEVELS = ("hipt-vit256", "hipt-vit4k")


class _RegionVector(nn.Module):
    """The mean of a region's ViT-256 vectors and its ViT-4K vector, side by side."""

    def __init__(self, network: Hipt4K) -> None:
        super().__init__()
        self.network = network

    def forward(self, region: Tensor) -> Tensor:
        """From (1, 3, H, W) to (1, 576)."""
        return self.network.features(region).mean256_cls4k


class HiptRegionEncoder(NetworkEncoder):
    """Embeds regions at 0.5 um a pixel: 384 numbers, the mean of ViT-256 over the patches, then the
    192 of ViT-4K.

    The published regions are of 16 x 16 patches; at a slide's border they are smaller.
    """

    def __init__(self, name: str, runtime: Runtime) -> None:
        """The encoder called `name`.

        Raises:
            ValueError: the weights of a level are not found.
        """
        self._found = {level: find_weights(PUBLISHED[level], runtime.weights) for level in _LEVELS}
        hashes = " ".join(found.sha256 for found in self._found.values())
        spec = EncoderSpec(
            name=name,
            version="1",
            level="region",
            dim=DIM_256 + DIM_4K,
            # Of two files: the hash of their hashes.
            weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
            preprocessing=canonical({**asdict(PREPROCESSING), "patches_a_side": PATCHES_A_SIDE}),
        )
        # A region at a time: their sizes differ, and one is a batch of 256 patches by itself.
        super().__init__(spec, self._tower, _pixels, runtime, batch_size=1)

    def encode(self, batch: Sequence[SlideRegion]) -> np.ndarray:
        """Vectors of regions, float32 (regions, 576).

        Raises:
            ValueError: a region is smaller than a patch.
        """
        vectors = [self.run(region.pixels[None]) for region in batch]
        return np.concatenate([np.empty((0, self.spec.dim), np.float32), *vectors])

    def _tower(self) -> nn.Module:
        network = Hipt4K()
        for level, own in zip(_LEVELS, ("model256", "model4k"), strict=True):
            setattr(network, own, load_published(PUBLISHED[level], self._found[level]))
        return PatchTower(_RegionVector(network), PREPROCESSING)


def _pixels(regions: Sequence[SlideRegion]) -> tuple[np.ndarray, ...]:
    return (np.stack([region.pixels for region in regions]),)
