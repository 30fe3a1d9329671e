"""PORPOISE: attention pooling of a bag and an SNN of genes, fused bilinearly (Chen et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tumorbase.models.bag_attention import DIM as EMBEDDED_DIM
from tumorbase.models.bag_attention import BagAttention
from tumorbase.models.bag_input import check_omics, check_patches
from tumorbase.models.bilinear_fusion import BilinearFusion
from tumorbase.models.gated_attention import attention_pool
from tumorbase.models.snn import snn_blocks
from tumorbase.models.survival_output import SurvivalOutput

DIM = 256


class Porpoise(nn.Module):
    """Hazards from the gated outer product of one vector of the slide and one of the genes.

    Keys are those of `PorpoiseMMF` as it is made by default in mahmoodlab/PORPOISE@8ddca09,
    models/model_porpoise.py.
    """

    def __init__(
        self, omic_sizes: Sequence[int], n_classes: int = 4, patch_dim: int = 1024
    ) -> None:
        """A network for groups of genes of `omic_sizes` features and `n_classes` time bins."""
        super().__init__()
        self.patch_dim = patch_dim
        self.omic_sizes = tuple(omic_sizes)
        self.attention_net = BagAttention(patch_dim, hidden_dim=256, input_dropout=0.1)
        self.rho = nn.Sequential(nn.Linear(EMBEDDED_DIM, DIM), nn.ReLU(), nn.Dropout(0.25))
        self.fc_omic = snn_blocks(sum(omic_sizes), (DIM, DIM))
        self.mm = BilinearFusion(DIM, skip=True)
        self.classifier_mm = nn.Linear(DIM, n_classes)

    def forward(self, patches: Tensor, omics: Sequence[Tensor]) -> SurvivalOutput:
        """The hazards of one patient.

        Args:
            patches: float (patches, patch_dim), at least one, in any order.
            omics: z-scored features of each group of genes, a vector for each of `omic_sizes`; the
                network sees them as one vector.

        Returns:
            Its `attention["patches"]` holds scores before the softmax, (1, patches).

        Raises:
            ValueError: the bag is empty, or a vector has another size.
        """
        check_patches(patches, self.patch_dim)
        check_omics(omics, self.omic_sizes)
        embedded, scores = self.attention_net(patches)  # (patches, 512), (1, patches)
        slide = self.rho(attention_pool(scores, embedded))  # (1, 256)
        profile = self.fc_omic(torch.cat(list(omics))[None])  # (1, 256)
        logits = self.classifier_mm(self.mm(slide, profile))  # (1, n_classes)
        return SurvivalOutput.from_logits(logits, {"patches": scores})
