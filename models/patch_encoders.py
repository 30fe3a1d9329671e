"""Networks as encoders of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import nn

from tumorbase.models import hipt, pathology_vits, resnet50_layer3
from tumorbase.models.encoders import Runtime
from tumorbase.models.network_encoder import NetworkEncoder, load_published, network_spec
from tumorbase.models.patch_tower import PatchPreprocessing, PatchTower
from tumorbase.models.published import PUBLISHED, Weights
from tumorbase.models.weights import find_weights

BATCH_SIZE = {"cpu": 8, "cuda": 256}  # by device; more only leave a processor's caches
COMPILED_BATCH_SIZE = 64  # at most: a piece of a slide, of 8 patches to a block, is filled up to it

_PREPROCESSING = {
    "hipt-vit256": hipt.PREPROCESSING,
    "resnet50-layer3": resnet50_layer3.PREPROCESSING,
    **{name: config.preprocessing for name, config in pathology_vits.CONFIGS.items()},
}


class PatchEncoder(NetworkEncoder):
    """Embeds patches: each RGB, uint8 (side, side, 3), those of a batch all of one side."""

    def __init__(
        self, weights: Weights, preprocessing: PatchPreprocessing, runtime: Runtime
    ) -> None:
        """The encoder of these weights, under their name.

        Raises:
            ValueError: the weights are not found.
        """
        found = find_weights(weights, runtime.weights)
        spec = network_spec(weights, found.sha256, "patch", asdict(preprocessing))
        batch_size = BATCH_SIZE[runtime.device]
        if runtime.is_compiled:
            batch_size = min(batch_size, COMPILED_BATCH_SIZE)
        super().__init__(spec, self._tower, self._cut, runtime, batch_size)
        self._weights = weights
        self._found = found
        self._preprocessing = preprocessing

    def _network(self) -> nn.Module:
        """The network with its weights."""
        return load_published(self._weights, self._found)

    def _image_network(self) -> nn.Module:
        """What takes normalised images, (batch, 3, H, W): the whole network as a rule."""
        return self._network()

    def _tower(self) -> nn.Module:
        return PatchTower(self._image_network(), self._preprocessing)

    def _cut(self, batch: Sequence[Any]) -> tuple[np.ndarray, ...]:
        return (self._preprocessing.cut(np.asarray(batch)),)


def published_patch_encoder(name: str, runtime: Runtime) -> PatchEncoder:
    """The encoder of the weights `name` of `PUBLISHED`.

    Raises:
        ValueError: the weights are not found.
    """
    return PatchEncoder(PUBLISHED[name], _PREPROCESSING[name], runtime)
