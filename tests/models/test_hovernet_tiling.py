"""Windows over images of any size, cut and stitched as the reference does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden import fill, seeded
from tumorbase.models.hovernet import MODES, HoVerNet, Mode
from tumorbase.models.hovernet_tiling import (
    cut_windows,
    paste,
    predict,
    predict_with_features,
    window_corners,
)

SMALL = Mode(window_px=30, output_px=12, first_padding_px=0, decoder_kernel_px=3)


class LocalMaps(nn.Module):
    """Stands in for the network: maps and features that depend on 9 px around each pixel only."""

    mode = SMALL

    def __init__(self) -> None:
        super().__init__()
        self.np = nn.Conv2d(3, 2, 19)
        self.hv = nn.Conv2d(3, 2, 19)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.maps_and_features(images)[0]

    def maps_and_features(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        images = images / 255.0
        return {"np": self.np(images), "hv": self.hv(images)}, images[:, :, 9:-9, 9:-9]


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "reference" / "hovernet" / "golden.npz")


def rgb(height: int, width: int) -> np.ndarray:
    return seeded(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["original", "fast"])
def test_windows_lie_where_the_references_do(golden, mode):
    height, width, window_px, output_px = golden[f"tile_{mode}/args_H_W_win_msk"]
    assert (MODES[mode].window_px, MODES[mode].output_px) == (window_px, output_px)
    theirs = golden[f"tile_{mode}/patch_info"]
    corners = window_corners(np.zeros((height, width, 3), np.uint8), MODES[mode])
    order = np.lexsort((theirs[:, 1], theirs[:, 0]))  # theirs go column by column
    np.testing.assert_array_equal(corners, theirs[order, :2])
    np.testing.assert_array_equal(corners // output_px, theirs[order, 2:])


@pytest.mark.parametrize("mode", ["original", "fast"])
def test_windows_show_what_the_references_do(golden, mode):
    """The reference reflects the whole image, then cuts; its paddings are golden."""
    height, width = golden[f"tile_{mode}/args_H_W_win_msk"][:2]
    image, side = rgb(height, width), MODES[mode].window_px
    before = golden[f"tile_{mode}/top_left_pad"]
    after = golden[f"tile_{mode}/padded_shape"][:2] - before - (height, width)
    padded = np.pad(image, (*zip(before, after, strict=True), (0, 0)), mode="reflect")
    corners = window_corners(image, MODES[mode])
    theirs = np.stack([padded[y : y + side, x : x + side] for y, x in corners])
    np.testing.assert_array_equal(cut_windows(image, corners, MODES[mode]), theirs)


@pytest.mark.parametrize("shape", [(60, 48), (61, 47), (12, 13), (5, 40), (1, 1), (7, 1)])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_stitched_windows_equal_one_large_window(shape, batch_size):
    torch.manual_seed(0)
    network, image = LocalMaps(), rgb(*shape)
    margin = SMALL.margin_px // 2
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    with torch.inference_mode():
        maps = network(torch.from_numpy(padded).permute(2, 0, 1)[None])
    probability = maps["np"].softmax(dim=1)[0, 1]
    whole = torch.stack([probability, *maps["hv"][0]], dim=-1).numpy()
    prediction, features = predict_with_features(network, image, batch_size)
    assert prediction.dtype == np.float32
    np.testing.assert_allclose(prediction, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(predict(network, image, batch_size), prediction)
    np.testing.assert_array_equal(features, (image / np.float32(255)).astype(np.float16))


def test_an_image_smaller_than_the_window_is_predicted_with_types():
    network = fill(HoVerNet("fast", nr_types=3)).train()
    prediction = predict(network, rgb(33, 90))
    assert prediction.shape == (33, 90, 4)
    assert np.isfinite(prediction).all()
    assert set(np.unique(prediction[..., 0])) <= {0.0, 1.0, 2.0}
    assert ((prediction[..., 1] >= 0) & (prediction[..., 1] <= 1)).all()
    assert not network.training


def test_what_reaches_beyond_the_image_is_not_pasted():
    whole = np.zeros((5, 7, 1))
    paste(np.full((2, 4, 4, 1), [[[[1.0]]], [[[2.0]]]]), np.array([[0, 0], [4, 4]]), whole)
    assert whole[..., 0].sum() == 4 * 4 * 1 + 1 * 3 * 2


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 1), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((0, 40, 3), np.uint8),
    ],
)
def test_grey_rgba_float_and_empty_images_are_refused(image):
    with pytest.raises(ValueError, match=r"expected an RGB image, uint8 \(H, W, 3\), got"):
        predict(LocalMaps(), image)
