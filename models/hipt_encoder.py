"""HIPT as an encoder of slides: the mean of what it says of their regions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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


class HiptSlideEncoder(NetworkEncoder):
    """Embeds slides by their regions at 0.5 um a pixel, 384 numbers of patches and 192 of regions.

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
            level="slide",
            dim=DIM_256 + DIM_4K,
            # Of two files: the hash of their hashes.
            weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
            preprocessing=canonical({**asdict(PREPROCESSING), "patches_a_side": PATCHES_A_SIDE}),
        )
        # A region at a time: their sizes differ, and one is a batch of 256 patches by itself.
        super().__init__(spec, self._tower, _pixels, runtime, batch_size=1)

    def encode(self, batch: Sequence[Iterable[SlideRegion]]) -> np.ndarray:
        """Vectors of slides by their regions, float32 (slides, 576), each of length 1.

        Raises:
            ValueError: a slide has no region with tissue, or a region is smaller than a patch.
        """
        return np.stack([self._slide_vector(regions) for regions in batch])

    def _slide_vector(self, regions: Iterable[SlideRegion]) -> np.ndarray:
        total = np.zeros(self.spec.dim)
        for region in regions:
            total += region.tissue_patches * self.run(*_pixels([region]))[0]
        length = np.linalg.norm(total)
        if length == 0.0:
            raise ValueError("expected at least one region with tissue, got none")
        return (total / length).astype(np.float32)

    def _tower(self) -> nn.Module:
        network = Hipt4K()
        for level, own in zip(_LEVELS, ("model256", "model4k"), strict=True):
            setattr(network, own, load_published(PUBLISHED[level], self._found[level].path))
        return PatchTower(_RegionVector(network), PREPROCESSING)


def _pixels(regions: Sequence[SlideRegion]) -> tuple[np.ndarray, ...]:
    return (np.stack([region.pixels for region in regions]),)
