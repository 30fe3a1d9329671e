"""The lesion graph's network: lesions of a kind, place and size lie near each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from tumorbase.models.box_pooling import pool_boxes
from tumorbase.models.deeplesion_patch import GREY_LEVELS, MEAN_GREY
from tumorbase.models.patch_tower import IMAGENET_MEAN, IMAGENET_STD

# Layers of torchvision's `vgg16().features`: up to where each of conv2 to conv5 has its ReLU.
SCALE_ENDS = (9, 16, 23, 30)
LESION_SCALES = (0, 1)  # conv2 and conv3 pool the lesion's box, conv4 and conv5 the whole patch


class LesionGraph(nn.Module):
    """Multi-scale, multi-crop VGG-16, trained by triplets (Yan et al., CVPR 2018).

    Neither code nor weights are published. The paper's conv2 to conv5 and its 1,408 numbers are
    taken to be the channels of these four scales (128 + 256 + 512 + 512), each pooled to its
    greatest value; the crops and the kind of pooling are those of the same authors' LesaNet. Each
    scale has length 1 before they are joined, so that the cosine of two lesions is the mean of four
    scales' cosines. The keys are those of torchvision's VGG-16 without the classifier; its weights
    alone make this the like of the paper's baseline, "multi-scale ImageNet feature".
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = make_layers(cfgs["D"][:-1])  # without the last pool
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        mean = torch.tensor(IMAGENET_MEAN) - MEAN_GREY / GREY_LEVELS
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        deviation = torch.tensor(IMAGENET_STD)[:, None, None]
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, patches: Tensor, lesion_boxes_px: Tensor) -> Tensor:
        """Embeddings of lesions, float32 (batch, 1408), each row of length 1.

        Args:
            patches: float32 (batch, 3, height, width), the `image` of `deeplesion_patch` at 0.8 mm.
            lesion_boxes_px: float32 (batch, 4), (x1, y1, x2, y2) in pixels of the patch.
        """
        height, width = patches.shape[2:]
        whole_patch = lesion_boxes_px.new_tensor([0, 0, width, height]).expand_as(lesion_boxes_px)
        features = (patches - self.mean) / self.deviation  # as torchvision's weights were trained
        scales, start = [], 0
        for scale, end in enumerate(SCALE_ENDS):
            features = self.features[start:end](features)  # (batch, channels, height / stride, ..)
            start = end
            boxes = lesion_boxes_px if scale in LESION_SCALES else whole_patch
            greatest = pool_boxes(features, boxes, side=1, stride=2 ** (scale + 1))
            scales.append(F.normalize(greatest.flatten(1), dim=1))  # (batch, channels)
        return torch.cat(scales, dim=1) / len(scales) ** 0.5  # (batch, 1408)
