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
from tumorbase.models.network_encoder import NetworkEncoder, load_published, network_spec
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import find_weights

MPP = 0.25  # micrometres per pixel that the networks were trained at
BATCH_SIZE = {"cpu": 4, "cuda": 32}  # by device
THREADS = {"cpu": 1, "cuda": 2}  # that predict at a time: a GPU works for one, the other copies
CELL_PX = 2  # a vector of features for every 2 x 2 pixels: a quarter of what else had to be moved

# What a slide is predicted in, height and width, rounded to whole outputs of windows, and by how
# much blocks overlap. They are narrow, for the columns that neighbours share are run once.
BLOCK_PX = (3100, 1000)
OVERLAP_PX = 160
REACH_PX = 32  # of a nucleus from its middle; that far from tissue windows are still run
SPAN_BLOCKS = 4  # of a slide, the ones with much tissue, by which its slopes are measured

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
    """What the network says of an image's pixels.

    `maps` are float32 (3 or 4, H, W): type, only where the network tells types, probability of a
    nucleus, x and y from its middle. `features` are float16 (H / 2, W / 2, 64), one for each cell
    of 2 x 2 pixels.
    """

    maps: np.ndarray
    features: np.ndarray

    @property
    def types(self) -> np.ndarray | None:
        """(H, W)."""
        return self.maps[0] if len(self.maps) == 4 else None

    @property
    def probability(self) -> np.ndarray:
        """(H, W)."""
        return self.maps[-3]

    @property
    def distances(self) -> np.ndarray:
        """(H, W, 2)."""
        return np.moveaxis(self.maps[-2:], 0, -1)

    def part(self, rows: slice, columns: slice) -> Prediction:
        """A view of some pixels; the slices begin with a whole cell."""
        cells = (slice(s.start // CELL_PX, -(-s.stop // CELL_PX)) for s in (rows, columns))
        return Prediction(self.maps[:, rows, columns], self.features[*cells])


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
            "reach_px": REACH_PX,
            "fullest_span_blocks": SPAN_BLOCKS,
            **weights.config,
        }
        spec = network_spec(weights, found.sha256, "nucleus", preprocessing)
        self.mode = MODES[weights.config["mode"]]
        self.types = TYPES[name]
        self.threads = THREADS[runtime.device]
        super().__init__(
            spec,
            lambda: _Windows(cast(HoVerNet, load_published(weights, found))),
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
        (rows, columns), cells = chosen.shape, output // CELL_PX
        channels = 4 if self.types else 3
        maps = np.zeros((channels, rows * output, columns * output), dtype=np.float32)
        features = np.zeros((rows * cells, columns * cells, FEATURE_CHANNELS), dtype=np.float16)
        # The same memory by windows, of shape (rows, columns, ...).
        maps_of = maps.reshape(channels, rows, output, columns, output).transpose(1, 3, 0, 2, 4)
        features_of = features.reshape(rows, cells, columns, cells, -1).swapaxes(1, 2)
        places = np.argwhere(chosen)
        at_once = 2 * self._batch_size
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            outputs = self.run(views[tuple(part.T)])
            in_maps = channels * output**2
            for (row, column), values in zip(part, outputs, strict=True):
                maps_of[row, column] = values[:in_maps].reshape(channels, output, output)
                halves = values[in_maps:].view(np.float16)
                features_of[row, column] = halves.reshape(cells, cells, -1)
        return Prediction(maps, features)

    def encode(self, batch: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Vectors of nuclei, float32 (n, 64): their mean features.

        Args:
            batch: mean features under each nucleus, (n, 64), as `nucleus_pooling` gives them.

        Raises:
            ValueError: another number of features.
        """
        means = np.asarray(batch, dtype=np.float32)
        if means.shape != (len(batch), self.spec.dim):
            raise ValueError(f"expected (n, {self.spec.dim}) mean features, got {means.shape}")
        return means


class _Windows(nn.Module):
    """HoVer-Net with all that is kept of a window in one row."""

    def __init__(self, network: HoVerNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        """The maps, channel by channel, then the features of the cells, in half precision: two
        values in the bytes of one, for to move them takes as long as to compute them.

        Args:
            windows: RGB, uint8 (batch, 3, window, window).

        Returns:
            float32 (batch, 3 or 4 x output^2 + 64 x (output / 2)^2 / 2).
        """
        maps, features = self.network.maps_and_features(windows)  # (batch, 64, output, output)
        cells = F.avg_pool2d(features.float(), CELL_PX)  # (batch, 64, output / 2, output / 2)
        halves = cells.permute(0, 2, 3, 1).flatten(1).half()  # (batch, 64 x (output / 2)^2)
        planes = prediction_map(maps).permute(0, 3, 1, 2)  # (batch, 3 or 4, output, output)
        return torch.cat([planes.flatten(1), halves.view(torch.float32)], dim=1)
