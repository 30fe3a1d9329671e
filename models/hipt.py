"""HIPT: a region of a slide as a vector, by a transformer over its patches' vectors.

Chen et al. 2022, "Scaling vision transformers to gigapixel images via hierarchical self-supervised
learning", section 3.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop

from tumorbase.models.hipt_vit import HiptTransformer
from tumorbase.models.patch_tower import PatchPreprocessing
from tumorbase.models.slide_region import PATCH_PX

TOKEN_PX = 16
DIM_256 = 384
DIM_4K = 192
HEADS = 6
PATCHES_AT_ONCE = 256
_HALF = (0.5, 0.5, 0.5)
PREPROCESSING = PatchPreprocessing(PATCH_PX, PATCH_PX, _HALF, _HALF)


class ViT256(HiptTransformer):
    """ViT-S/16 over one patch of 256 px: the first level, 384 numbers a patch."""

    patch_embed: nn.Sequential

    def __init__(self) -> None:
        convolution = nn.Conv2d(3, DIM_256, kernel_size=TOKEN_PX, stride=TOKEN_PX)
        patch_embed = nn.Sequential(OrderedDict(proj=convolution))
        super().__init__(DIM_256, depth=12, heads=HEADS, patch_embed=patch_embed)

    def grid(self, inputs: Tensor) -> Tensor:
        """Tokens of 16 px, (batch, 384, H / 16, W / 16).

        Args:
            inputs: RGB in [-1, 1], (x / 255 - 0.5) / 0.5, at 0.5 um a pixel, (batch, 3, H, W);
                published for 256 px, any multiple of 16 goes.

        Raises:
            ValueError: a side is no multiple of 16.
        """
        height, width = inputs.shape[2:]
        if height % TOKEN_PX or width % TOKEN_PX:
            raise ValueError(f"sides must be multiples of {TOKEN_PX} px, got {height} x {width}")
        return self.patch_embed(inputs)


class ViT4K(HiptTransformer):
    """ViT over the grid of a region's ViT-256 vectors: the second level, 192 numbers a region."""

    phi: nn.Sequential

    def __init__(self) -> None:
        phi = nn.Sequential(nn.Linear(DIM_256, DIM_4K), nn.GELU())
        super().__init__(DIM_4K, depth=6, heads=HEADS, phi=phi)

    def grid(self, inputs: Tensor) -> Tensor:
        """One token a patch, (batch, 192, rows, columns).

        Args:
            inputs: ViT-256 vectors where their patches lie, (batch, 384, rows, columns); published
                for 16 x 16.
        """
        return self.phi(inputs.movedim(1, -1)).movedim(-1, 1)


@dataclass(frozen=True)
class RegionFeatures:
    """What HIPT says of one region of rows x columns patches."""

    cls256: Tensor  # ViT-256 vectors of the patches, by rows: (patches, 384)
    cls4k: Tensor  # (1, 192)

    @property
    def mean256(self) -> Tensor:
        """The mean of the patches' vectors, (1, 384)."""
        return self.cls256.mean(dim=0, keepdim=True)

    @property
    def mean256_cls4k(self) -> Tensor:
        """Both levels side by side, (1, 576)."""
        return torch.cat([self.mean256, self.cls4k], dim=1)


class Hipt4K(nn.Module):
    """Both levels over a region: ViT-256 of each patch, ViT-4K of the grid that they form."""

    def __init__(self) -> None:
        super().__init__()
        self.model256 = ViT256()
        self.model4k = ViT4K()

    def forward(self, region: Tensor) -> Tensor:
        """The region's vector, (1, 192); takes what `features` takes."""
        return self.features(region).cls4k

    def features(self, region: Tensor) -> RegionFeatures:
        """All that the two levels say of a region.

        Args:
            region: RGB in [-1, 1] at 0.5 um a pixel, (1, 3, H, W); published for 4,096 px. What
                does not fill a patch of 256 px is left out, in equal parts at both ends.

        Raises:
            ValueError: not one region, or smaller than a patch.
        """
        patches, rows, columns = region_patches(region)
        batches = patches.split(PATCHES_AT_ONCE)
        cls256 = torch.cat([self.model256(batch) for batch in batches])  # (patches, 384)
        grid = cls256.T.reshape(1, DIM_256, rows, columns)
        return RegionFeatures(cls256, self.model4k(grid))


def region_patches(region: Tensor) -> tuple[Tensor, int, int]:
    """Patches of the centre of a region by rows, (patches, 3, 256, 256); their rows and columns.

    Raises:
        ValueError: not one region, or smaller than a patch.
    """
    height, width = region.shape[2:]
    rows, columns = height // PATCH_PX, width // PATCH_PX
    if len(region) != 1 or not rows or not columns:
        raise ValueError(
            f"expected one region of at least {PATCH_PX} x {PATCH_PX} px, (1, 3, H, W), "
            f"got {tuple(region.shape)}"
        )
    cropped = center_crop(region, [rows * PATCH_PX, columns * PATCH_PX])
    tiles = cropped[0].unflatten(1, (rows, PATCH_PX)).unflatten(3, (columns, PATCH_PX))
    patches = tiles.permute(1, 3, 0, 2, 4)  # (rows, columns, 3, 256, 256)
    return patches.flatten(0, 1), rows, columns
