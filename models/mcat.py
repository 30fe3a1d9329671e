"""MCAT: genomic-guided co-attention of a bag of patches and six groups of genes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tumorbase.models.bag_input import check_omics, check_patches
from tumorbase.models.bilinear_fusion import BilinearFusion
from tumorbase.models.coattention import CoAttention
from tumorbase.models.gated_attention import GatedAttention, attention_pool
from tumorbase.models.snn import snn_blocks
from tumorbase.models.survival_output import SurvivalOutput

DIM = 256
DROPOUT = 0.25
# Widths of the blocks of a gene group's SNN (mahmoodlab/MCAT@b9cca63, MCAT_Surv).
SNN_WIDTHS = {"small": (256, 256), "big": (1024, 1024, 1024, 256)}


class Mcat(nn.Module):
    """Multimodal co-attention transformer (Chen et al. 2021, section 3), one patient at a time."""

    def __init__(
        self,
        omic_sizes: Sequence[int],
        fusion: str = "concat",
        n_classes: int = 4,
        snn_size: str = "small",
        patch_dim: int = 1024,
    ) -> None:
        """A network of `n_classes` time bins.

        Args:
            omic_sizes: number of features of each gene group, as `GeneGroups.sizes` has them.
            fusion: "concat" or "bilinear", how the pooled patches and genes become one vector.
            n_classes: number of time bins.
            snn_size: "small", as in all published runs, or "big".
            patch_dim: features of a patch.

        Raises:
            ValueError: there is no such fusion or size, or no gene group.
        """
        super().__init__()
        if snn_size not in SNN_WIDTHS:
            raise ValueError(f"snn_size must be one of {', '.join(SNN_WIDTHS)}, got {snn_size!r}")
        if fusion not in ("concat", "bilinear"):
            raise ValueError(f"fusion must be concat or bilinear, got {fusion!r}")
        if not omic_sizes:
            raise ValueError("omic_sizes must name at least one gene group, got none")
        self.omic_sizes = tuple(omic_sizes)
        self.patch_dim = patch_dim
        self.wsi_net = nn.Sequential(nn.Linear(patch_dim, DIM), nn.ReLU(), nn.Dropout(DROPOUT))
        self.sig_networks = nn.ModuleList(
            snn_blocks(size, SNN_WIDTHS[snn_size]) for size in omic_sizes
        )
        self.coattn: nn.Module = CoAttention(DIM)
        self.path_transformer = _transformer()
        self.path_attention_head = GatedAttention(DIM, DIM)
        self.path_rho = _rho()
        self.omic_transformer = _transformer()
        self.omic_attention_head = GatedAttention(DIM, DIM)
        self.omic_rho = _rho()
        self.fusion = fusion
        self.mm: nn.Module = BilinearFusion(DIM) if fusion == "bilinear" else _two_layers()
        self.classifier = nn.Linear(DIM, n_classes)

    def forward(self, patches: Tensor, omics: Sequence[Tensor]) -> SurvivalOutput:
        """Hazards of one patient.

        Args:
            patches: of all the patient's slides together, float32 (patches, patch_dim), in any
                order; published with 256 px at 20x encoded by a ResNet-50 truncated at layer 3.
            omics: z-scored features of each gene group, a vector for each of `omic_sizes`.

        Returns:
            Output of one row. `attention` holds "coattention", what each group sees in the bag,
            (groups, patches); "path" and "omic", the weight of each group's token, (1, groups). All
            are scores before their softmax.

        Raises:
            ValueError: the bag is empty, or it or a vector has another size.
        """
        check_patches(patches, self.patch_dim)
        check_omics(omics, self.omic_sizes)
        bag = self.wsi_net(patches)  # (patches, 256)
        genes = torch.stack(
            [network(omic) for network, omic in zip(self.sig_networks, omics, strict=True)]
        )  # (groups, 256)
        seen, coattention = self.coattn(genes, bag)  # (groups, 256), (groups, patches)

        path = self.path_transformer(seen)  # (groups, 256)
        path_scores = self.path_attention_head(path)  # (1, groups)
        path = self.path_rho(attention_pool(path_scores, path))  # (1, 256)

        omic = self.omic_transformer(genes)  # (groups, 256)
        omic_scores = self.omic_attention_head(omic)  # (1, groups)
        omic = self.omic_rho(attention_pool(omic_scores, omic))  # (1, 256)

        if self.fusion == "bilinear":
            fused = self.mm(path, omic)  # (1, 256)
        else:
            fused = self.mm(torch.cat([path, omic], dim=1))  # (1, 256)
        attention = {"coattention": coattention, "path": path_scores, "omic": omic_scores}
        return SurvivalOutput.from_logits(self.classifier(fused), attention)


def _transformer() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        DIM, nhead=8, dim_feedforward=512, dropout=DROPOUT, batch_first=True
    )
    return nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)


def _rho() -> nn.Sequential:
    return nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Dropout(DROPOUT))


def _two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * DIM, DIM), nn.ReLU(), nn.Linear(DIM, DIM), nn.ReLU())
