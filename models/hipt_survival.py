"""HIPT over a whole slide: risk from the regions' patch vectors (Chen et al. 2022, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from tumorbase.models.gated_attention import GatedAttention, attention_pool
from tumorbase.models.hipt import DIM_4K, DIM_256, ViT4K
from tumorbase.models.slide_region import PATCHES_A_SIDE
from tumorbase.models.survival_output import SurvivalOutput

DROPOUT = 0.25


class HiptLgp(nn.Module):
    """Local-global HIPT: ViT-4K of each region, a transformer over the regions, gated attention.

    For the published results the regions' transformer, `local_vit`, was pre-trained and frozen:
    `network.local_vit.requires_grad_(False)`.
    """

    def __init__(self, n_classes: int = 4) -> None:
        """For `n_classes` time bins; the published survival networks have 4."""
        super().__init__()
        self.local_vit = ViT4K()
        self.global_phi = nn.Sequential(nn.Linear(DIM_4K, DIM_4K), nn.ReLU(), nn.Dropout(DROPOUT))
        layer = nn.TransformerEncoderLayer(
            DIM_4K, nhead=3, dim_feedforward=DIM_4K, dropout=DROPOUT, batch_first=True
        )
        self.global_transformer = nn.TransformerEncoder(
            layer, num_layers=2, enable_nested_tensor=False
        )
        self.global_attn_pool = GatedAttention(DIM_4K, DIM_4K, dropout=DROPOUT)
        self.global_rho = nn.Sequential(nn.Linear(DIM_4K, DIM_4K), nn.ReLU(), nn.Dropout(DROPOUT))
        self.classifier = nn.Linear(DIM_4K, n_classes)

    def forward(self, regions: Tensor) -> SurvivalOutput:
        """The risk of one patient.

        Args:
            regions: ViT-256 vectors of the 16 x 16 patches of each region by rows, float
                (regions, 256, 384).

        Returns:
            Of one patient; its attention "regions", (1, regions), sums to 1.

        Raises:
            ValueError: no region, or another shape.
        """
        expected = (PATCHES_A_SIDE**2, DIM_256)
        if len(regions) == 0 or tuple(regions.shape[1:]) != expected:
            raise ValueError(
                f"expected (regions, {expected[0]}, {expected[1]}) with at least one region, "
                f"got {tuple(regions.shape)}"
            )
        grids = regions.transpose(1, 2).unflatten(2, (PATCHES_A_SIDE, -1))  # (regions, 384, 16, 16)
        local = self.global_phi(self.local_vit(grids))  # (regions, 192)
        together = self.global_transformer(local[None])[0]  # (regions, 192)
        scores = self.global_attn_pool(together)  # (1, regions)
        patient = attention_pool(scores, together)  # (1, 192)
        logits = self.classifier(self.global_rho(patient))  # (1, bins)
        return SurvivalOutput.from_logits(logits, {"regions": scores.softmax(dim=-1)})
