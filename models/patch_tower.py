"""Patches as a network wants them: cut to its size on the processor, normalised on its device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Channels = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class PatchPreprocessing:
    """What is done to a patch before a network sees it, as torchvision and timm do it to images.

    The patch is resized to `resize_px` a side, its centre of `crop_px` is kept, and each channel,
    scaled to [0, 1], has `mean` taken off and is divided by `std`.
    """

    resize_px: int
    crop_px: int
    mean: Channels
    std: Channels
    interpolation: str = "bilinear"  # a value of torchvision's InterpolationMode

    @property
    def summary(self) -> str:
        """In words, without mean and deviation."""
        return f"0.5 um a pixel, {self.resize_px} px ({self.interpolation}), centre {self.crop_px}"

    def cut(self, patches: np.ndarray) -> np.ndarray:
        """Patches at the size of the network's input, uint8 (n, crop_px, crop_px, 3).

        Pixels differ from those of the libraries' transforms, which go by Pillow, by 2 at most.

        Args:
            patches: RGB, uint8 (n, side, side, 3).

        Raises:
            ValueError: another type or shape.
        """
        shape = patches.shape
        if patches.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise ValueError(
                f"expected patches uint8 (n, side, side, 3), got {patches.dtype} {shape}"
            )
        images = torch.from_numpy(patches).permute(0, 3, 1, 2)  # (n, 3, side, side)
        mode = InterpolationMode(self.interpolation)
        images = resize(images, [self.resize_px, self.resize_px], mode, antialias=True)
        images = center_crop(images, [self.crop_px, self.crop_px])  # (n, 3, crop, crop)
        return images.permute(0, 2, 3, 1).numpy()


class PatchTower(nn.Module):
    """A network behind its normalisation: from pixels as `PatchPreprocessing.cut` gives them."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: PatchPreprocessing) -> None:
        """`network` takes normalised images, float32 (batch, 3, H, W), and gives (batch, dim)."""
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            channels = torch.tensor(getattr(preprocessing, name)).reshape(1, 3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Vectors of patches, (batch, dim), from their pixels, uint8 (batch, H, W, 3)."""
        images = pixels.permute(0, 3, 1, 2).float() / 255  # (batch, 3, H, W)
        return self.network((images - self.mean) / self.std)
