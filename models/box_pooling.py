"""Pooling of one box an item: what the DeepLesion networks crop out of their feature maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_pool


def pool_boxes(features: Tensor, boxes_px: Tensor, side: int, stride: int) -> Tensor:
    """Greatest value in each of `side` x `side` cells of an item's box (Girshick 2015).

    Args:
        features: float (batch, channels, height, width).
        boxes_px: float32 (batch, 4), (x1, y1, x2, y2) in pixels of the network's input.
        side: cells along each side.
        stride: pixels of the input between two neighbouring features.

    Returns:
        float32 (batch, channels, side, side); 0 where a box lies outside.
    """
    items = torch.arange(len(boxes_px), device=boxes_px.device, dtype=torch.float32)
    rois = torch.cat([items[:, None], boxes_px], dim=1)  # (batch, 5)
    # In float32, for bfloat16 would round the boxes.
    pooled: Tensor = roi_pool(features.float(), rois, side, spatial_scale=1.0 / stride)
    return pooled
