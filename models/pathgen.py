"""PathGen: patches and genes aligned, attended and transported (Zhang et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tumorbase.models.bag_input import check_omics, check_patches
from tumorbase.models.gated_attention import GatedAttention, attention_pool
from tumorbase.models.optimal_transport import sinkhorn
from tumorbase.models.snn import snn_blocks
from tumorbase.models.survival_output import SurvivalOutput

DIM = 256
HEADS = 8
DROPOUT = 0.25
TRANSPORT_ENTROPY = 0.05  # of the plan, against costs in [0, 2]


class PathGen(nn.Module):
    """Hazards from pathology and genomics fused globally, locally and globally again.

    Zhang et al. 2025, "Survival prediction by integrating multimodal pathological images and
    genomics". No code or weights are published: what its text leaves open is decided in
    docs/models/pathgen.md. In training the loss of the hazards is joined by that of the alignment:

        path, genes = network.encode(patches, omics)
        loss = survival_loss(network.fuse(path, genes)) + weight * alignment_loss(path, genes)
    """

    def __init__(
        self, omic_sizes: Sequence[int], n_classes: int = 4, patch_dim: int = 1024
    ) -> None:
        """A network for groups of genes of `omic_sizes` features and `n_classes` time bins."""
        super().__init__()
        self.patch_dim = patch_dim
        self.omic_sizes = tuple(omic_sizes)
        self.patch_network = nn.Sequential(
            nn.Linear(patch_dim, DIM), nn.ReLU(), nn.Dropout(DROPOUT)
        )
        self.grouping = GatedAttention(DIM, DIM, heads=len(self.omic_sizes))
        self.gene_networks = nn.ModuleList(snn_blocks(size, (DIM, DIM)) for size in omic_sizes)
        self.path_attention = CrossAttention()
        self.gene_attention = CrossAttention()
        self.path_pooling = TokenPooling()
        self.gene_pooling = TokenPooling()
        self.head = nn.Sequential(
            *(nn.Linear(2 * DIM, DIM), nn.ReLU(), nn.Dropout(DROPOUT)),
            nn.Linear(DIM, n_classes),
        )

    def forward(self, patches: Tensor, omics: Sequence[Tensor]) -> SurvivalOutput:
        """The hazards of one patient: `fuse` of what `encode` returns.

        Args:
            patches: float (patches, patch_dim), at least one, in any order.
            omics: z-scored features of each group of genes, a vector for each of `omic_sizes`.

        Raises:
            ValueError: the bag is empty, or a vector has another size.
        """
        return self.fuse(*self.encode(patches, omics))

    def encode(self, patches: Tensor, omics: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """A token of each group, of patches and of genes, each float (groups, 256).

        The patches' groups are as many as the genes', and overlap: each is the bag's mean by an
        attention of its own.

        Args:
            patches: as of `forward`.
            omics: as of `forward`.
        """
        check_patches(patches, self.patch_dim)
        check_omics(omics, self.omic_sizes)
        bag = self.patch_network(patches)  # (patches, 256)
        path = attention_pool(self.grouping(bag), bag)  # (groups, 256)
        encoded = [encode(omic) for encode, omic in zip(self.gene_networks, omics, strict=True)]
        return path, torch.stack(encoded)

    def fuse(self, path: Tensor, genes: Tensor) -> SurvivalOutput:
        """Hazards from the tokens of one patient.

        Args:
            path: float (groups, 256).
            genes: float (groups, 256).

        Returns:
            `attention` holds, each (groups, groups): "path_to_genes", how much each group of
            patches looks at each group of genes, "genes_to_path" the other way round, and
            "transport", how much of each group of patches goes to each group of genes; and "path"
            and "omic", the scores of the pooled tokens before the softmax, (1, groups).
        """
        seen_path, path_to_genes = self.path_attention(path, genes)  # (groups, 256)
        seen_genes, genes_to_path = self.gene_attention(genes, path)  # (groups, 256)
        plan = transport_plan(seen_path, seen_genes)  # (groups, groups)
        slide, path_scores = self.path_pooling(carry(plan, seen_path))  # (1, 256)
        profile, gene_scores = self.gene_pooling(seen_genes)  # (1, 256)
        attention = {
            "path_to_genes": path_to_genes,
            "genes_to_path": genes_to_path,
            "transport": plan,
            "path": path_scores,
            "omic": gene_scores,
        }
        logits = self.head(torch.cat([slide, profile], dim=1))  # (1, n_classes)
        return SurvivalOutput.from_logits(logits, attention)


class CrossAttention(nn.Module):
    """Tokens of one modality plus what they see in the other, normalised (Vaswani et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(DIM, HEADS, dropout=DROPOUT)
        self.dropout = nn.Dropout(DROPOUT)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, tokens: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens, (groups, 256), and the weights of the others, averaged over the heads."""
        seen, weights = self.attention(tokens, others, others)  # (groups, 256), (groups, groups)
        return self.norm(tokens + self.dropout(seen)), weights


class TokenPooling(nn.Module):
    """A transformer over the tokens of a modality, then their gated-attention mean."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            DIM, nhead=HEADS, dim_feedforward=2 * DIM, dropout=DROPOUT, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.attention = GatedAttention(DIM, DIM)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Their mean, (1, 256), and its scores before the softmax, (1, tokens)."""
        tokens = self.transformer(tokens)  # (tokens, 256)
        scores = self.attention(tokens)  # (1, tokens)
        return attention_pool(scores, tokens), scores


def alignment_loss(path: Tensor, genes: Tensor) -> Tensor:
    """1 less the mean cosine similarity of each group's two tokens, a scalar in [0, 2].

    Args:
        path: float (groups, dim).
        genes: float (groups, dim).
    """
    return 1.0 - F.cosine_similarity(path, genes).mean()


def transport_plan(path: Tensor, genes: Tensor) -> Tensor:
    """How much of each group of patches goes to each group of genes, (groups, groups).

    Kantorovich's problem (equation 13): of all plans that take 1/n from each of n groups of patches
    and bring 1/n to each of n groups of genes the one of least cost, which is 1 less the cosine
    similarity; with entropy, so that Sinkhorn's iteration finds it. No gradient flows through it.

    Args:
        path: float (groups, dim).
        genes: float (groups, dim).
    """
    cost = 1.0 - F.normalize(path) @ F.normalize(genes).T  # (groups, groups)
    share = cost.new_full((len(cost),), 1.0 / len(cost))
    return sinkhorn(cost.detach(), share, share, TRANSPORT_ENTROPY)


def carry(plan: Tensor, tokens: Tensor) -> Tensor:
    """What arrives at each target: the mean of the tokens by what the plan brings of them.

    Args:
        plan: float (tokens, targets), not negative.
        tokens: float (tokens, dim).

    Returns:
        float (targets, dim).
    """
    return (plan / plan.sum(dim=0)).T @ tokens
