"""The self-supervised body-part regressor: how far down the body an axial CT slice lies."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tumorbase.models.named_vgg16 import BLOCK_CHANNELS, NamedVgg16

FIRST_WEIGHT_DEVIATION = 0.001  # of the two new layers


class Ssbr(NamedVgg16):
    """VGG-16 without its classifier, averaged over the slice to one score (Yan et al., ISBI 2018).

    The score grows from head to feet, by and large linearly in mm; its zero and its unit are those
    that the weights learned. Keys are the layers of
    rsummers11/CADLab@e6963e8:body_part_regressor/bodypartregressor/test.prototxt.
    """

    def __init__(self) -> None:
        super().__init__(is_normalised=False)
        self.conv6 = nn.Conv2d(512, 512, kernel_size=1)
        self.fc7_new = nn.Conv2d(512, 1, kernel_size=1)
        for layer in (self.conv6, self.fc7_new):
            nn.init.normal_(layer.weight, std=FIRST_WEIGHT_DEVIATION)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, slices: Tensor) -> Tensor:
        """Scores of slices, float32 (batch,).

        Args:
            slices: float32 (batch, 3, 128, 128), as `body_part_slice` makes them.
        """
        features = slices
        for block in range(1, len(BLOCK_CHANNELS) + 1):
            if block > 1:
                # Caffe rounds the pooled size up.
                features = F.max_pool2d(features, kernel_size=2, ceil_mode=True)
            features = self.block(block, features)
        features = F.relu(self.conv6(features))  # (batch, 512, 8, 8)
        mean = features.mean(dim=(2, 3), keepdim=True)  # (batch, 512, 1, 1)
        return self.fc7_new(mean).flatten()  # (batch,)
