"""LesaNet: what a lesion in CT is, where and of what kind, as labels, and its embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tumorbase.models.box_pooling import pool_boxes
from tumorbase.models.named_vgg16 import BLOCK_CHANNELS, NamedVgg16

LABELS = 171
EMBEDDING_DIM = 256
SCALE_DIM = 256
POOLED_PX = 5
LESION_BLOCKS = (1, 2, 3)  # pool the lesion's box; the others pool the whole patch


@dataclass(frozen=True)
class LesionLabels:
    """What LesaNet says of a batch of lesions; scores are logits, a sigmoid makes probabilities.

    `embedding` is (batch, 256), each row of length 1; `scores` (batch, labels) are those of the
    picture alone, and `propagated_scores` those after labels have informed each other: the answer.
    """

    embedding: Tensor
    scores: Tensor
    propagated_scores: Tensor


class LesaNet(NamedVgg16):
    """Multi-scale, multi-crop VGG-16 with score propagation (Yan et al., CVPR 2019).

    Keys and shapes are those of rsummers11/CADLab@e6963e8:LesaNet/network_vgg.py (`VGG16bn`).
    """

    def __init__(self, labels: int = LABELS) -> None:
        super().__init__(is_normalised=True)
        for block, widths in enumerate(BLOCK_CHANNELS, start=1):
            pooled = POOLED_PX * POOLED_PX * widths[-1]
            self.add_module(f"fc_pool{block}", nn.Linear(pooled, SCALE_DIM))
        scales_dim = SCALE_DIM * len(BLOCK_CHANNELS)
        self.fc_emb = nn.Linear(scales_dim, EMBEDDING_DIM)
        self.class_scores1 = nn.Linear(scales_dim, labels)
        self.class_scores2 = nn.Linear(labels, labels)
        nn.init.eye_(self.class_scores2.weight)  # at first, labels do not inform each other
        nn.init.zeros_(self.class_scores2.bias)

    def forward(self, patches: Tensor, lesion_boxes_px: Tensor) -> LesionLabels:
        """Labels and embeddings of lesions.

        Args:
            patches: float32 (batch, 3, height, width), the `image` of `deeplesion_patch` at 1 mm.
            lesion_boxes_px: float32 (batch, 4), (x1, y1, x2, y2) in pixels of the patch.
        """
        scales = self.scales(patches, lesion_boxes_px)  # (batch, 1280)
        scores = self.class_scores1(scales)  # (batch, labels)
        return LesionLabels(
            embedding=F.normalize(self.fc_emb(scales), dim=1),  # (batch, 256)
            scores=scores,
            propagated_scores=self.class_scores2(scores),  # (batch, labels)
        )

    def scales(self, patches: Tensor, lesion_boxes_px: Tensor) -> Tensor:
        """256 numbers of each block in turn, float32 (batch, 1280); arguments as of `forward`."""
        height, width = patches.shape[2:]
        whole_patch = lesion_boxes_px.new_tensor([0, 0, width, height]).expand_as(lesion_boxes_px)
        pooled = []
        features = patches
        for block in range(1, len(BLOCK_CHANNELS) + 1):
            if block > 1:
                features = F.max_pool2d(features, kernel_size=2)
            features = self.block(block, features)  # (batch, channels, height / s, width / s)
            boxes = lesion_boxes_px if block in LESION_BLOCKS else whole_patch
            crop = pool_boxes(features, boxes, POOLED_PX, stride=2 ** (block - 1))
            pooled.append(self.get_submodule(f"fc_pool{block}")(crop.flatten(1)))  # (batch, 256)
        return torch.cat(pooled, dim=1)
