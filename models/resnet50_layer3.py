"""ResNet-50 cut off after its third stage, the patch encoder of CLAM, MCAT and their successors."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models import resnet50

from tumorbase.models.patch_tower import IMAGENET_MEAN, IMAGENET_STD, PatchPreprocessing

DIM = 1024
PREPROCESSING = PatchPreprocessing(256, 256, IMAGENET_MEAN, IMAGENET_STD)
_KEPT = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "avgpool")


class ResNet50Layer3(nn.Sequential):
    """ResNet-50 (He et al. 2016) up to `layer3`, pooled over the patch: 1,024 numbers.

    Source: mahmoodlab/CLAM, models/resnet_custom.py. Takes normalised RGB, (batch, 3, H, W), and
    gives (batch, 1024). Keys are torchvision's; those of `layer4` and `fc` are left over.
    """

    def __init__(self) -> None:
        whole = resnet50(weights=None)
        kept = OrderedDict((name, getattr(whole, name)) for name in _KEPT)
        super().__init__(OrderedDict(**kept, flatten=nn.Flatten()))
