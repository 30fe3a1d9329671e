"""HoVer-Net against the reference's keys and numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import (
    assert_golden,
    assert_golden_stats,
    fill,
    seeded,
)
from tumorbase.models.hovernet import HoVerNet
from tumorbase.models.hovernet_losses import loss_terms
from tumorbase.models.hovernet_targets import targets
from tumorbase.models.hovernet_tiling import prediction_map
from tumorbase.models.networks import build

SMALL_PX = {"original": 198, "fast": 96}  # the smallest windows, of 8 and 4 px of output


@pytest.fixture(scope="module")
def reference(shared):
    return shared / "reference" / "hovernet"


@pytest.fixture(scope="module")
def golden(reference):
    return np.load(reference / "golden.npz")


@pytest.fixture(scope="module")
def small():
    """A filled network of mode "fast" with five types, and two of its smallest windows."""
    windows = seeded(0).integers(0, 256, (2, 3, SMALL_PX["fast"], SMALL_PX["fast"]))
    return fill(HoVerNet("fast", nr_types=5)), torch.from_numpy(windows.astype(np.float32))


@pytest.mark.parametrize(
    ("tag", "mode", "nr_types"),
    [("original_none", "original", None), ("original_5", "original", 5), ("fast_6", "fast", 6)],
)
def test_maps_and_features_are_the_references(golden, tag, mode, nr_types):
    network = fill(build("hovernet", mode=mode, nr_types=nr_types))
    layers = ("conv0", "d0", "d1", "d2", "d3", "conv_bot")
    features = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: features.update({layer: output})
        )
    side = network.mode.window_px
    images = seeded(int(golden[f"{tag}/seed"])).integers(0, 256, (1, 3, side, side))
    with torch.inference_mode():
        maps = network(torch.from_numpy(images.astype(np.float32)))
    for layer in layers:
        assert tuple(features[layer].shape) == tuple(golden[f"{tag}/feat_{layer}_shape"])
        assert_golden_stats(features[layer], golden[f"{tag}/feat_{layer}_stats"])
    assert list(maps) == (["np", "hv"] if nr_types is None else ["tp", "np", "hv"])
    stride = int(golden[f"{tag}/stride"])
    for name, map_ in maps.items():
        assert tuple(map_.shape) == tuple(golden[f"{tag}/{name}_shape"])
        assert_golden(map_[:, :, ::stride, ::stride], golden[f"{tag}/{name}"])
        assert_golden_stats(map_, golden[f"{tag}/{name}_stats"])
    assert_golden(prediction_map(maps)[:, ::4, ::4], golden[f"{tag}/infer_step"])


def test_bytes_and_floats_of_a_window_are_the_same(small):
    network, windows = small
    with torch.inference_mode():
        floats, bytes_ = network(windows[:1]), network(windows[:1].to(torch.uint8))
    assert all(torch.equal(floats[name], bytes_[name]) for name in floats)


def test_features_are_what_the_first_map_is_made_of(small):
    network, windows = small
    with torch.inference_mode():
        maps, features = network.maps_and_features(windows)
        assert features.shape == (2, 64, 4, 4)
        assert torch.equal(network.decoder["tp"].u0(features), maps["tp"])


def drawn_window(network: HoVerNet) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A window of two dark nuclei of types 1 and 2, with its targets: batches of one."""
    side = SMALL_PX["fast"] + 8
    labels = np.zeros((side, side), dtype=np.int64)
    labels[40:56, 40:52], labels[48:64, 52:64] = 1, 2
    made = targets(labels, side - network.mode.margin_px, types=labels)
    window = torch.from_numpy(np.where(labels > 0, 80 * labels, 220)).float()
    truth = {name: torch.from_numpy(target)[None] for name, target in made.items()}
    return window.expand(1, 3, -1, -1), truth


@pytest.mark.slow
def test_training_fits_one_window():
    torch.manual_seed(0)
    network = HoVerNet("fast", nr_types=3).train()
    window, truth = drawn_window(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = sum(loss_terms(network(window), truth).values())
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("mode", ["original", "fast"])
def test_the_smallest_window_has_an_output(mode):
    with torch.device("meta"):
        network, windows = HoVerNet(mode), torch.zeros(1, 3, SMALL_PX[mode], SMALL_PX[mode] + 8)
        output = network(windows)["np"]
    assert output.shape == (1, 2, *(side - network.mode.margin_px for side in windows.shape[2:]))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 256, 256), "images must be"),
        ((1, 4, 256, 256), "images must be"),
        ((1, 1, 256, 256), "images must be"),
        ((1, 3, 256, 252), "a window's sides must be 256 px, give or take a multiple of 8"),
        ((1, 3, 88, 256), "and more than 92, got"),
    ],
)
def test_windows_of_other_shapes_are_refused(small, shape, message):
    with pytest.raises(ValueError, match=message):
        small[0](torch.zeros(shape))


def test_modes_and_types_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="mode must be one of original, fast, got 'slow'"):
        HoVerNet("slow")
    with pytest.raises(ValueError, match="nr_types must be None or at least 2"):
        HoVerNet("fast", nr_types=1)
