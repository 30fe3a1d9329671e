"""HFBSurv: hierarchical fusion of modalities by factorised bilinear models (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tumorbase.models.bag_input import check_omics, check_patches
from tumorbase.models.survival_output import SurvivalOutput

FEATURE_DIM = 50
INTERACTION_DIM = 20  # within a modality, and between two
RANK = 20  # of the factorised bilinear models
MODALITY_DIM = FEATURE_DIM + INTERACTION_DIM


class HfbSurv(nn.Module):
    """Hazards from modalities fused in two steps: each with itself, then each with every other.

    The paper's modalities are gene expression, image features of a slide and copy numbers; here
    they are the mean of the bag's patches and every genomic vector, however many there are.
    What differs from Liruiqing-ustc/HFBSurv@31b57e5, and why, is in docs/models/baselines.md.
    """

    def __init__(
        self, omic_sizes: Sequence[int], n_classes: int = 4, patch_dim: int = 1024
    ) -> None:
        """A network for genomic vectors of `omic_sizes` features and `n_classes` time bins."""
        super().__init__()
        self.patch_dim = patch_dim
        self.omic_sizes = tuple(omic_sizes)
        sizes = [patch_dim, *self.omic_sizes]
        self.encoders = nn.ModuleList(_encoder(size) for size in sizes)
        self.within = nn.ModuleList(nn.Linear(FEATURE_DIM, RANK * INTERACTION_DIM) for _ in sizes)
        self.attention = nn.Sequential(nn.Linear(MODALITY_DIM, 1), nn.Sigmoid())
        self.between = nn.ModuleList(nn.Linear(MODALITY_DIM, RANK * INTERACTION_DIM) for _ in sizes)
        self.factor_dropout = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(MODALITY_DIM + INTERACTION_DIM)
        self.head = nn.Sequential(
            *(nn.Linear(MODALITY_DIM + INTERACTION_DIM, 256), nn.Tanh(), nn.Dropout(0.3)),
            *(nn.Linear(256, 64), nn.Tanh(), nn.Dropout(0.3)),
            nn.Linear(64, n_classes),
        )

    def forward(self, patches: Tensor, omics: Sequence[Tensor]) -> SurvivalOutput:
        """The hazards of one patient.

        Args:
            patches: float (patches, patch_dim), at least one, in any order.
            omics: a vector for each of `omic_sizes`.

        Returns:
            Its `attention["modalities"]` holds weights in (0, 1), the bag's first, (modalities,).

        Raises:
            ValueError: the bag is empty, or a vector has another size.
        """
        check_patches(patches, self.patch_dim)
        check_omics(omics, self.omic_sizes)
        vectors = [patches.mean(dim=0), *omics]
        encoded = [encode(vector) for encode, vector in zip(self.encoders, vectors, strict=True)]
        weighted, weights = self._fuse_within(torch.stack(encoded))
        fused = torch.cat([weighted.sum(dim=0), self._fuse_between(weighted, weights)])  # (90,)
        logits = self.head(self.norm(fused))[None]  # (1, n_classes)
        return SurvivalOutput.from_logits(logits, {"modalities": weights})

    def _fuse_within(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features and how they interact, times the modality's weight; and the weights.

        `features` are (modalities, 50); what comes back is (modalities, 70) and (modalities,).
        """
        factors = _apply(self.within, features)  # (modalities, 400)
        interactions = bilinear_pool(self.factor_dropout(factors * factors))  # (modalities, 20)
        specific = torch.cat([features, interactions], dim=1)  # (modalities, 70)
        weights = self.attention(specific)  # (modalities, 1)
        return weights * specific, weights[:, 0]

    def _fuse_between(self, weighted: Tensor, weights: Tensor) -> Tensor:
        """The interactions of all pairs of modalities, by the pairs' weights, (20,).

        A pair weighs the more, the more its two modalities do and the less alike they are.
        """
        first, second = torch.triu_indices(len(weighted), len(weighted), offset=1)
        profiles = weighted.softmax(dim=1)  # (modalities, 70)
        likeness = (profiles[first] * profiles[second]).sum(dim=1)  # (pairs,)
        pair_weights = ((weights[first] + weights[second]) / (likeness + 0.5)).softmax(dim=0)
        factors = _apply(self.between, weighted)  # (modalities, 400)
        interactions = bilinear_pool(self.factor_dropout(factors[first] * factors[second]))
        return pair_weights @ interactions


def bilinear_pool(products: Tensor) -> Tensor:
    """Products of two modalities' factors, summed over the rank, tamed and of unit length.

    Taming is the signed square root. This is multi-modal factorised bilinear pooling (Yu et al.
    2017, section 3).

    Args:
        products: float (n, 400), the 20 of a rank beside each other.

    Returns:
        float (n, 20).
    """
    pooled = products.unflatten(1, (INTERACTION_DIM, RANK)).sum(dim=2)  # (n, 20)
    # Of sign(x) sqrt(|x|) the gradient at 0 would not be a number.
    return F.normalize(F.relu(pooled).sqrt() - F.relu(-pooled).sqrt(), dim=1)


def _encoder(size: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(size, FEATURE_DIM), nn.Tanh()),
        *(nn.Linear(FEATURE_DIM, FEATURE_DIM), nn.Tanh()),
    )


def _apply(layers: nn.ModuleList, rows: Tensor) -> Tensor:
    """Each row through its own layer."""
    return torch.stack([layer(row) for layer, row in zip(layers, rows, strict=True)])
