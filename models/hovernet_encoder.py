"""HoVer-Net as an encoder of nuclei: it finds them in pixels, and has a vector for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tumorbase.models.encoders import Runtime
from tumorbase.models.hovernet import FEATURE_CHANNELS, MODES, HoVerNet
from tumorbase.models.hovernet_tiling import prediction_map
from tumorbase.models.network_encoder import (
    NetworkEncoder,
    load_published,
    network_spec,
    unit_rows,
)
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import find_weights

MPP = 0.25  # micrometres per pixel that the networks were trained at
BATCH_SIZE = {"cpu": 4, "cuda": 32}  # by device
CELL_PX = 2  # a vector of features for every 2 x 2 pixels: a quarter of what else had to be moved

# What a slide is predicted in, rounded to whole outputs of windows, and by how much blocks overlap.
BLOCK_PX = 2100
OVERLAP_PX = 160
SPAN_BLOCKS = 4  # of a slide, by which its slopes are measured

# Types by their numbers, by the data set that the weights were trained on.
TYPES: dict[str, tuple[str, ...]] = {
    "hovernet-pannuke": (
        "background",
        "neoplastic",
        "inflammatory",
        "connective",
        "dead",
        "non-neoplastic epithelial",
    ),
    "hovernet-monusac": ("background", "epithelial", "lymphocyte", "macrophage", "neutrophil"),
    "hovernet-consep": (
        "background",
        "epithelial",
        "inflammatory",
        "spindle-shaped",
        "miscellaneous",
    ),
    "hovernet-kumar": (),
}


@dataclass(frozen=True)
class Prediction:
    """What the network says of an image's pixels, as `hovernet_post.instances` takes it.

    `features` are float16 (H / 2, W / 2, 64), one for each cell of 2 x 2 pixels. `types` is None
    where the network tells none.
    """

    probability: np.ndarray
    distances: np.ndarray
    types: np.ndarray | None
    features: np.ndarray


class HoVerNetEncoder(NetworkEncoder):
    """Predicts where nuclei are and what of; a nucleus' vector is the mean of its features."""

    def __init__(self, name: str, runtime: Runtime) -> None:
        """The encoder of the weights `name`.

        Raises:
            ValueError: the weights are not found.
        """
        weights = PUBLISHED[name]
        found = find_weights(weights, runtime.weights)
        preprocessing = {
            "mpp": MPP,
            "cell_px": CELL_PX,
            "block_px": BLOCK_PX,
            "overlap_px": OVERLAP_PX,
            "span_blocks": SPAN_BLOCKS,
            **weights.config,
        }
        spec = network_spec(weights, found.sha256, "nucleus", preprocessing)
        self.mode = MODES[weights.config["mode"]]
        self.types = TYPES[name]
        super().__init__(
            spec,
            lambda: _Windows(cast(HoVerNet, load_published(weights, found.path))),
            lambda windows: (np.asarray(windows),),
            runtime,
            BATCH_SIZE[runtime.device],
        )

    def predict(self, image: np.ndarray, chosen: np.ndarray) -> Prediction:
        """What the network says of windows that lie edge to edge; nothing where none is chosen.

        Args:
            image: RGB at `MPP`, uint8; its sides are whole multiples of `mode.output_px`, and the
                margin of a window more.
            chosen: which windows to run, bool (rows, columns).

        Returns:
            The maps without the margin.
        """
        side, output = self.mode.window_px, self.mode.output_px
        views = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
        views = views[::output, ::output]  # (rows, columns, 3, side, side)
        places = np.argwhere(chosen)
        channels = 4 if self.types else 3
        maps = np.zeros((*chosen.shape, output, output, channels), dtype=np.float32)
        cells = output // CELL_PX
        features = np.zeros((*chosen.shape, cells, cells, FEATURE_CHANNELS), dtype=np.float16)
        at_once = 2 * self._batch_size
        for start in range(0, len(places), at_once):
            row, column = places[start : start + at_once].T
            outputs = self.run(views[row, column])
            maps[row, column] = outputs[..., :channels]
            features[row, column] = _cells(outputs[..., channels:])
        whole = _edge_to_edge(maps)
        return Prediction(
            probability=whole[..., -3],
            distances=whole[..., -2:],
            types=whole[..., 0] if self.types else None,
            features=_edge_to_edge(features),
        )

    def encode(self, batch: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Vectors of nuclei, float32 (n, 64), each of length 1.

        Args:
            batch: mean features under each nucleus, (n, 64), as `nucleus_pooling` gives them.

        Raises:
            ValueError: another number of features.
        """
        means = np.asarray(batch, dtype=np.float32)
        if means.shape != (len(batch), self.spec.dim):
            raise ValueError(f"expected (n, {self.spec.dim}) mean features, got {means.shape}")
        return unit_rows(means)


class _Windows(nn.Module):
    """HoVer-Net with all that is kept of a window in one tensor."""

    def __init__(self, network: HoVerNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        """The maps' 3 or 4 channels, then a quarter of its cell's features for each pixel.

        Args:
            windows: RGB, uint8 (batch, 3, window, window).

        Returns:
            float32 (batch, output, output, channels + 16).
        """
        maps, features = self.network.maps_and_features(windows)  # (batch, 64, output, output)
        features = F.avg_pool2d(features.float(), CELL_PX)  # (batch, 64, output / 2, output / 2)
        features = F.pixel_shuffle(features, CELL_PX)  # (batch, 16, output, output)
        return torch.cat([prediction_map(maps), features.permute(0, 2, 3, 1)], dim=-1)


def _cells(shuffled: np.ndarray) -> np.ndarray:
    """Features of cells, (n, h / 2, w / 2, 64), from those shuffled to pixels, (n, h, w, 16)."""
    n, height, width, channels = shuffled.shape
    cells = shuffled.reshape(n, height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX, channels)
    cells = cells.transpose(0, 1, 3, 5, 2, 4)  # (n, h / 2, w / 2, 16, 2, 2)
    return cells.reshape(n, height // CELL_PX, width // CELL_PX, channels * CELL_PX**2)


def _edge_to_edge(tiles: np.ndarray) -> np.ndarray:
    """Tiles (rows, columns, h, w, channels) as one map, (rows x h, columns x w, channels)."""
    rows, columns, height, width, channels = tiles.shape
    return tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
