"""HoVer-Net over an image of any size: overlapping windows in, their middles side by side out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tumorbase.models.hovernet import HoVerNet, Mode


def predict(network: HoVerNet, image: np.ndarray, batch_size: int = 8) -> np.ndarray:
    """What the network says of each pixel of an image.

    Puts the network into eval mode, and runs it on its own device.

    Args:
        network: with trained weights.
        image: RGB at 0.25 um a pixel, uint8 (H, W, 3); what lies beyond its borders is taken as
            its reflection.
        batch_size: windows at once.

    Returns:
        float32 (H, W, 4): number of the type, probability of a nucleus, x and y from the middle of
        the nucleus, about [-1, 1]. Without the first of them, (H, W, 3), where the network tells no
        types.

    Raises:
        ValueError: the image is grey, has an alpha channel or no pixels, or is not of 8 bits.
    """
    (prediction,) = _stitched(network, image, batch_size, lambda w: (prediction_map(network(w)),))
    return prediction


def predict_with_features(
    network: HoVerNet, image: np.ndarray, batch_size: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """As `predict`, and the decoder's features of each pixel, float16 (H, W, 64).

    They take 128 bytes a pixel: for a large image, go by parts.

    Raises:
        ValueError: as `predict`.
    """

    def maps_and_features(windows: Tensor) -> tuple[Tensor, Tensor]:
        maps, features = network.maps_and_features(windows)
        return prediction_map(maps), features.permute(0, 2, 3, 1).half()

    prediction, features = _stitched(network, image, batch_size, maps_and_features)
    return prediction, features


def prediction_map(maps: dict[str, Tensor]) -> Tensor:
    """The network's raw maps as `predict` states them, float32 (batch, h, w, 3 or 4)."""
    channels = [maps["np"].float().softmax(dim=1)[:, 1:], maps["hv"].float()]
    if "tp" in maps:
        channels.insert(0, maps["tp"].argmax(dim=1, keepdim=True).float())
    return torch.cat(channels, dim=1).permute(0, 2, 3, 1)


def window_corners(image: np.ndarray, mode: Mode) -> np.ndarray:
    """First (row, column) of each window's output, int (n, 2), row by row.

    The outputs lie edge to edge and cover the image; the last of a row or column may reach beyond.

    Raises:
        ValueError: the image is grey, has an alpha channel or no pixels, or is not of 8 bits.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"expected an RGB image, uint8 (H, W, 3), got {image.dtype} {image.shape}")
    rows, columns = (np.arange(0, side, mode.output_px) for side in image.shape[:2])
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def cut_windows(image: np.ndarray, corners: np.ndarray, mode: Mode) -> np.ndarray:
    """The windows of some corners, uint8 (n, window, window, 3); beyond the borders, reflected."""
    rows, columns = (reflected(side, mode) for side in image.shape[:2])
    side = mode.window_px
    return np.stack([image[rows[y : y + side, None], columns[x : x + side]] for y, x in corners])


def paste(outputs: np.ndarray, corners: np.ndarray, whole: np.ndarray) -> None:
    """Lay each output (n, h, w, channels) at its corner in `whole`, (H, W, channels)."""
    for (y, x), output in zip(corners, outputs, strict=True):
        place = whole[y : y + output.shape[0], x : x + output.shape[1]]
        place[:] = output[: place.shape[0], : place.shape[1]]


def _stitched(
    network: HoVerNet,
    image: np.ndarray,
    batch_size: int,
    forward: Callable[[Tensor], tuple[Tensor, ...]],
) -> list[np.ndarray]:
    """Each output of `forward`, (batch, h, w, channels), over the whole image, (H, W, channels)."""
    corners = window_corners(image, network.mode)
    device = next(network.parameters()).device
    network.eval()
    whole: list[np.ndarray] = []
    for start in range(0, len(corners), batch_size):
        batch = corners[start : start + batch_size]
        windows = torch.from_numpy(cut_windows(image, batch, network.mode)).to(device)
        with torch.inference_mode():
            outputs = [o.cpu().numpy() for o in forward(windows.permute(0, 3, 1, 2))]
        whole = whole or [np.empty((*image.shape[:2], o.shape[3]), o.dtype) for o in outputs]
        for output, target in zip(outputs, whole, strict=True):
            paste(output, batch, target)
    return whole


def reflected(side_px: int, mode: Mode) -> np.ndarray:
    """The row (or column) of the image that each row of the windows is taken from.

    The reference pads the image itself, by more than it reads: these are the ones it reads.
    """
    before = mode.margin_px // 2
    after = before + -side_px % mode.output_px
    return np.pad(np.arange(side_px), (before, after), mode="reflect")
