"""The convolutions of VGG-16, named as in Caffe: the trunk of LesaNet and of the SSBR."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BLOCK_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class NamedVgg16(nn.Module):
    """conv1_1 to conv5_3 (Simonyan and Zisserman 2015, table 1, D), initialised as He et al. 2015.

    Subclasses own the layers without a prefix, as the published state dicts name them. With
    `is_normalised`, each convolution is followed by a batch normalisation, bn1_1 to bn5_3.
    """

    def __init__(self, is_normalised: bool) -> None:
        super().__init__()
        self.is_normalised = is_normalised
        channels_in = 3
        for block, widths in enumerate(BLOCK_CHANNELS, start=1):
            for layer, width in enumerate(widths, start=1):
                convolution = nn.Conv2d(channels_in, width, kernel_size=3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
                self.add_module(f"conv{block}_{layer}", convolution)
                if is_normalised:
                    self.add_module(f"bn{block}_{layer}", nn.BatchNorm2d(width))
                channels_in = width

    def block(self, number: int, features: Tensor) -> Tensor:
        """`features` (batch, channels, height, width) after the block 1 to 5, before its pool."""
        for layer in range(1, len(BLOCK_CHANNELS[number - 1]) + 1):
            features = self.get_submodule(f"conv{number}_{layer}")(features)
            if self.is_normalised:
                features = self.get_submodule(f"bn{number}_{layer}")(features)
            features = F.relu(features)
        return features
