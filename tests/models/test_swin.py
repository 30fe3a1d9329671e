"""Swin blocks equal MONAI's, over maps of two and three axes."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from golden import fill
from tumorbase.models.swin import PatchMerging, SwinBlock, SwinConfig, SwinTransformer
from tumorbase.models.windows import MASKED, join, partition, shift_mask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own, when it is imported
    from monai.networks.blocks import PatchEmbed
    from monai.networks.nets import swin_unetr as monai

# Axes of a map, and of a window: whole windows, padded ones, one axis shorter, all of them.
MAPS = [
    ((8, 8, 12), (4, 4, 4)),
    ((5, 7, 9), (4, 4, 4)),
    ((3, 8, 10), (4, 4, 4)),
    ((2, 3, 3), (4, 4, 4)),
    ((8, 12), (4, 4)),
    ((9, 7), (4, 4)),
    ((3, 3), (4, 4)),
]


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize(("sides", "window"), MAPS)
def test_a_block_equals_monais(
    sides: tuple[int, ...], window: tuple[int, ...], is_shifted: bool
) -> None:
    shift = tuple(length // 2 if is_shifted else 0 for length in window)
    ours = fill(SwinBlock(12, 3, window, shift))
    theirs = monai.SwinTransformerBlock(12, 3, window, shift).eval()
    theirs.load_state_dict(ours.state_dict())
    features = _noise(2, *sides, 12)
    fitted, stepped = monai.get_window_size(sides, window, shift)
    padded = [-(-side // length) * length for side, length in zip(sides, fitted, strict=True)]
    mask = monai.compute_mask(padded, fitted, stepped, features.device)
    with torch.inference_mode():
        torch.testing.assert_close(ours(features), theirs(features, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sides", [(4, 6), (5, 7)])
def test_merging_of_two_axes_equals_monais(sides: tuple[int, ...]) -> None:
    ours = fill(PatchMerging(6, axes=2))
    theirs = monai.PatchMerging(6, spatial_dims=2)
    theirs.load_state_dict(ours.state_dict())
    features = _noise(2, *sides, 6)
    torch.testing.assert_close(ours(features), theirs(features))


def test_merging_of_three_axes_takes_two_neighbours_twice_and_two_never() -> None:
    """The order of MONAI 0.9: one place a token, told by which of 8 features it reaches."""
    merging = PatchMerging(1, axes=3)
    merging.norm, merging.reduction = nn.Identity(), nn.Identity()
    d, h, w = torch.meshgrid(*(torch.arange(2.0),) * 3, indexing="ij")
    place = (100 * d + 10 * h + w)[None, ..., None]  # (1, 2, 2, 2, 1)
    assert merging(place).flatten().tolist() == [0, 100, 10, 1, 101, 10, 1, 111]


def test_patches_are_embedded_as_by_monai() -> None:
    """Of a map whose sides are no multiples of the patch's."""
    config = SwinConfig(4, 12, (1, 2, 2), (2,), (3,), ((4, 4, 4),))
    ours = fill(SwinTransformer(config))
    theirs = PatchEmbed((1, 2, 2), in_chans=4, embed_dim=12, norm_layer=None, spatial_dims=3)
    theirs.load_state_dict(ours.patch_embed.state_dict())
    images = _noise(2, 4, 3, 7, 9)
    embedded = theirs(images).movedim(1, -1)
    expected = nn.functional.layer_norm(embedded, (12,))
    torch.testing.assert_close(ours(images, stages=0), expected)


def test_each_stage_halves_the_map_and_doubles_its_width() -> None:
    config = SwinConfig(2, 6, (2, 2), (1, 1), (1, 2), ((4, 4), (4, 4)))
    swin = SwinTransformer(config)
    images = _noise(1, 2, 36, 20)
    assert [tuple(swin(images, stages).shape) for stages in range(3)] == [
        (1, 18, 10, 6),
        (1, 9, 5, 12),
        (1, 5, 3, 24),
    ]


@pytest.mark.parametrize(("sides", "window"), [((4, 6), (2, 3)), ((4, 6, 8), (2, 3, 4))])
def test_windows_are_joined_as_they_were_cut(
    sides: tuple[int, ...], window: tuple[int, ...]
) -> None:
    features = _noise(2, *sides, 5)
    windows = partition(features, window)
    first = features[(0, *(slice(length) for length in window))]
    assert torch.equal(windows[0, 0], first.flatten(0, -2))
    assert torch.equal(join(windows, window, sides), features)


def test_a_shift_masks_only_what_it_brings_side_by_side() -> None:
    """Four places in windows of 2, shifted by 1: those of the last window are the ends."""
    mask = shift_mask((4, 4), (2, 4), (1, 0), torch.device("cpu"))
    ends = torch.tensor([[0.0, MASKED], [MASKED, 0.0]])
    assert torch.equal(mask[0], torch.zeros(8, 8))
    assert torch.equal(mask[1], torch.kron(ends, torch.ones(4, 4)))


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
