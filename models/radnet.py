"""RadNet: diagnoses from all of a case's scans (Zheng et al. 2024, there called RadDiag).

Source: Zheng et al., Nature Communications 15:10147, Methods; qiaoyu-zheng/RP3D-Diag@7bdbbbb,
RP3D_Demo/Model.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from tumorbase.models.radnet_transformer import Encoded, TransformerEncoder
from tumorbase.models.radnet_vit import SliceViT, SliceViTConfig
from tumorbase.models.scan_preparation import MAX_SLICES

WIDTH = 2048
DISORDERS = 5569
ICD10CM_CODES = 931
MODALITIES = 16  # ids, of which 0 is padding
# Slices that are encoded at once: few stay in a processor's caches, and many keep a GPU busy.
SLICES_AT_ONCE_CPU = 4
SLICES_AT_ONCE_GPU = 64


class RadNetOutput(NamedTuple):
    """Logits of all classes, and the tokens they come from."""

    logits: Tensor  # (cases, classes); their sigmoids are the probabilities
    case: Tensor  # (cases, 2048)
    scans: Tensor  # (cases, scans, 2048), before fusion
    slice_scores: Tensor  # (cases, scans, slices), before the softmax; -1e9 at padded slices


class SliceResNet(ResNet):
    """ResNet-50 up to its pooled features; published checkpoints hold its `fc` too."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])

    def forward(self, slices: Tensor) -> Tensor:
        """Features of slices.

        Args:
            slices: values in [0, 1], without ImageNet's normalisation, (n, height, width).

        Returns:
            (n, 2048).
        """
        pixels = slices[:, None].expand(-1, 3, -1, -1)  # (n, 3, height, width)
        features = self.maxpool(self.relu(self.bn1(self.conv1(pixels))))  # a quarter as high, wide
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.avgpool(features).flatten(1)  # (n, 2048)


class SliceAttention(nn.Module):
    """A scan's token: a class token that attends to the scan's slices."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_emb = nn.Parameter(torch.randn(1 + MAX_SLICES, WIDTH))
        self.transformer_encoder = TransformerEncoder(WIDTH, heads=1, layers=1)

    def forward(self, features: Tensor, marks: Tensor) -> Encoded:
        """All tokens, (scans, 1 + slices, 2048), the scan's first.

        Args:
            features: of slices, (scans, slices, 2048).
            marks: which slices are real, bool (scans, slices).
        """
        tokens = _with_class_token(self.cls_token, features)
        tokens = tokens + self.pos_emb[: tokens.shape[1]]  # (scans, 1 + slices, 2048)
        return self.transformer_encoder(tokens, F.pad(marks, (1, 0), value=True))


class ScanFusion(nn.Module):
    """A case's token: a class token that attends to the case's scans, however many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.mod_embed = nn.Parameter(torch.randn(MODALITIES, WIDTH))
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.transformer_encoder = TransformerEncoder(WIDTH, heads=4, layers=2)

    def forward(self, scans: Tensor, modalities: Tensor) -> Tensor:
        """Tokens of cases, (cases, 2048), of their scans (cases, scans, 2048) and modality ids."""
        tokens = _with_class_token(self.cls_token, scans + self.mod_embed[modalities])
        is_real = F.pad(modalities != 0, (1, 0), value=True)  # (cases, 1 + scans)
        return self.transformer_encoder(tokens, is_real).tokens[:, 0]


class RadNet(nn.Module):
    """Diagnoses from any number of scans, 2D or 3D, of any modality.

    A 2D ResNet-50 encodes each slice, attention over the slices makes one token of a scan, and
    attention over the scans one token of the case. There is no 3D convolution in what is published.

    Args:
        n_classes: of the head; published are `DISORDERS` and `ICD10CM_CODES`.
        fuse: "early" fuses the tokens of a case's scans, "late" diagnoses each scan by itself.
        knowledge_dim: width of the text embeddings of the classes' names that the case is compared
            with, 768 as published; None where classes have numbers only.
        vit: of the vision transformer that encodes slices in place of ResNet-50.

    Raises:
        ValueError: `fuse` is neither "early" nor "late".
    """

    def __init__(
        self,
        n_classes: int = DISORDERS,
        fuse: str = "early",
        knowledge_dim: int | None = None,
        vit: SliceViTConfig | None = None,
    ) -> None:
        super().__init__()
        if fuse not in ("early", "late"):
            raise ValueError(f"fuse must be early or late, got {fuse!r}")
        if vit is None:
            self.resnet2D = SliceResNet()
        else:
            self.vit2D = SliceViT(vit, WIDTH)
        self.attention1D = SliceAttention()
        if fuse == "early":
            self.vitFuse = ScanFusion()
        self.fc = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, n_classes))
        if knowledge_dim is not None:  # `fc` goes unused then, but published checkpoints hold it
            self.fcke = nn.Linear(knowledge_dim, WIDTH)

    def forward(
        self, images: Tensor, marks: Tensor, modalities: Tensor, names: Tensor | None = None
    ) -> RadNetOutput:
        """Diagnose cases.

        Args:
            images: values in [0, 1], float32 (cases, scans, slices, height, width), padded where a
                case has fewer scans, or a scan fewer slices; at most `MAX_SLICES` slices.
            marks: which slices are real, bool (cases, scans, slices).
            modalities: `scan_preparation.MODALITY_IDS`, 0 for padding, int64 (cases, scans).
            names: unit-length embeddings of the classes' names, (classes, knowledge_dim), for a
                network with `knowledge_dim`.

        Raises:
            ValueError: another shape, more than one scan a case for late fusion, or names without
                `knowledge_dim` or the other way about.
        """
        if images.dim() != 5 or images.shape[:3] != marks.shape:
            raise ValueError(
                "expected images (cases, scans, slices, height, width) and marks of their first "
                f"three sides, got {tuple(images.shape)} and {tuple(marks.shape)}"
            )
        scans = self.encode_scans(images.flatten(0, 1), marks.flatten(0, 1))
        tokens = scans.tokens[:, 0].unflatten(0, images.shape[:2])  # (cases, scans, 2048)
        scores = scans.scores[:, 1:].unflatten(0, images.shape[:2])  # (cases, scans, slices)
        case = self.fuse_scans(tokens, modalities)  # (cases, 2048)
        return RadNetOutput(self._classify(case, names), case, tokens, scores)

    def encode_scans(self, images: Tensor, marks: Tensor) -> Encoded:
        """All tokens, (scans, 1 + slices, 2048), the scan's first, and how it looked at the others.

        Args:
            images: (scans, slices, height, width), as in `forward`.
            marks: bool (scans, slices).

        Raises:
            ValueError: more than `MAX_SLICES` slices.
        """
        if images.shape[1] > MAX_SLICES:
            raise ValueError(f"expected at most {MAX_SLICES} slices, got {images.shape[1]}")
        # The reference encodes padded slices too. Nothing attends to them, so that no result
        # changes, but for the statistics of batch norm in training, which are better without them.
        real = self.encode_slices(images[marks])  # (real slices, 2048)
        features = real.new_zeros(*marks.shape, WIDTH)
        features[marks] = real
        return self.attention1D(features, marks)

    def encode_slices(self, slices: Tensor) -> Tensor:
        """Features of slices (n, height, width), each by itself: (n, 2048)."""
        encoder = self.vit2D if hasattr(self, "vit2D") else self.resnet2D
        if self.training:  # batch norm goes by the whole batch
            return encoder(slices)
        at_once = SLICES_AT_ONCE_CPU if slices.device.type == "cpu" else SLICES_AT_ONCE_GPU
        return torch.cat([encoder(batch) for batch in slices.split(at_once)])

    def fuse_scans(self, scans: Tensor, modalities: Tensor) -> Tensor:
        """Tokens of cases, (cases, 2048), from those of their scans, (cases, scans, 2048).

        Raises:
            ValueError: late fusion, and more than one scan a case.
        """
        if hasattr(self, "vitFuse"):
            return self.vitFuse(scans, modalities)
        if scans.shape[1] != 1:
            raise ValueError(f"late fusion takes one scan a case, got {scans.shape[1]}")
        return scans[:, 0]

    def _classify(self, case: Tensor, names: Tensor | None) -> Tensor:
        if (names is not None) != hasattr(self, "fcke"):
            raise ValueError("names of the classes go with a network that has knowledge_dim")
        if names is None:
            return self.fc(case)
        return case @ self.fcke(names).T  # (cases, classes)


def _with_class_token(token: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([token.expand(len(tokens), -1, -1), tokens], dim=1)
