"""The DeepLesion networks as encoders of lesions in their CT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from tumorbase.models.body_part_slice import SLICE_PREPROCESSING, body_part_slice
from tumorbase.models.deeplesion_patch import PATCH_PREPROCESSING, deeplesion_patch
from tumorbase.models.encoders import Runtime
from tumorbase.models.lesanet import LesaNet
from tumorbase.models.lesion_crop import LesionInVolume
from tumorbase.models.network_encoder import NetworkEncoder, Prepare, load_published, network_spec
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import find_weights

BATCH_SIZE = {"cpu": 8, "cuda": 128}  # by device
PIXEL_MM = {"lesanet": 1.0, "lesion-graph": 0.8}


class LesionNetwork(NetworkEncoder):
    """A published network that looks at lesions in their CT."""

    takes = LesionInVolume

    def __init__(
        self,
        name: str,
        level: str,
        preprocessing: Mapping[str, Any],
        prepare: Prepare,
        runtime: Runtime,
    ) -> None:
        """The encoder called `name`, as are its weights.

        Raises:
            ValueError: the weights are not found.
        """
        self._weights = PUBLISHED[name]
        found = find_weights(self._weights, runtime.weights)
        self._found = found
        spec = network_spec(self._weights, found.sha256, level, preprocessing)
        super().__init__(spec, self._network, prepare, runtime, BATCH_SIZE[runtime.device])

    def _network(self) -> nn.Module:
        network = load_published(self._weights, self._found)
        return _LesaNetEmbedding(network) if isinstance(network, LesaNet) else network


class BodyPartRegressor(LesionNetwork):
    """Scores of the slices on which lesions lie, growing from head to feet; no embeddings."""

    def encode(self, batch: Sequence[LesionInVolume]) -> np.ndarray:
        """One score a lesion, float32 (lesions, 1)."""
        if len(batch) == 0:
            return np.empty((0, self.spec.dim), dtype=np.float32)
        return self.run(*_slices(batch))[:, None]


def lesion_embedder(name: str, runtime: Runtime) -> LesionNetwork:
    """The encoder of lesions called `name`, a key of `PIXEL_MM`.

    Raises:
        ValueError: the weights are not found.
    """
    pixel_mm = PIXEL_MM[name]
    preprocessing = {**PATCH_PREPROCESSING, "pixel_mm": pixel_mm}
    return LesionNetwork(
        name, "lesion", preprocessing, lambda batch: _patches(batch, pixel_mm), runtime
    )


def body_part_regressor(name: str, runtime: Runtime) -> BodyPartRegressor:
    """The body-part regressor, called `name`.

    Raises:
        ValueError: the weights are not found.
    """
    return BodyPartRegressor(name, "body_part", SLICE_PREPROCESSING, _slices, runtime)


class _LesaNetEmbedding(nn.Module):
    """The embedding alone of what LesaNet says."""

    def __init__(self, network: LesaNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor, lesion_boxes_px: Tensor) -> Tensor:
        """As LesaNet's; float32 (batch, 256)."""
        embedding: Tensor = self.network(patches, lesion_boxes_px).embedding
        return embedding


def _patches(batch: Sequence[LesionInVolume], pixel_mm: float) -> tuple[np.ndarray, ...]:
    patches = [deeplesion_patch(lesion, pixel_mm) for lesion in batch]
    return np.stack([p.image for p in patches]), np.stack([p.box_px for p in patches])


def _slices(batch: Sequence[LesionInVolume]) -> tuple[np.ndarray, ...]:
    return (np.stack([body_part_slice(one.volume[one.key_slice]) for one in batch]),)
