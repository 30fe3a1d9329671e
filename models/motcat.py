"""MOTCat: MCAT with an optimal transport plan in the place of its co-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tumorbase.models.mcat import Mcat
from tumorbase.models.optimal_transport import unbalanced_sinkhorn


@dataclass(frozen=True)
class Transport:
    """How patches are matched with genes, in shares of the largest cost.

    `reg`, the weight of the entropy, was published as 0.05 for BLCA and LUAD and 0.1 for BRCA,
    UCEC and GBMLGG; `reg_marginal`, the price of a wrong marginal, as 0.5 for all.
    """

    reg: float = 0.1
    reg_marginal: float = 0.5


class MotCat(Mcat):
    """Optimal-transport co-attention (Xu & Chen 2023, section 3) of one patient at a time.

    Called as `Mcat`, and its output is the same, but that `attention["coattention"]` is the plan:
    how much of each patch goes to each group of genes, no scores before a softmax.
    """

    def __init__(
        self,
        omic_sizes: Sequence[int],
        fusion: str = "concat",
        n_classes: int = 4,
        transport: Transport = Transport(),
        patch_dim: int = 1024,
    ) -> None:
        """A network of `n_classes` time bins; the arguments are those of `Mcat`."""
        super().__init__(omic_sizes, fusion, n_classes, patch_dim=patch_dim)
        self.coattn = TransportCoAttention(transport)


class TransportCoAttention(nn.Module):
    """What each gene group sees in a bag by the plan that brings the patches to the genes."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self.transport = transport

    def forward(self, genes: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the patches by the plan, (groups, dim), and the plan, (groups, patches).

        The plan's sum is not quite 1, as it is unbalanced; no gradient flows through it. Both are
        as published.

        Args:
            genes: float (groups, dim).
            patches: float (patches, dim).
        """
        with torch.no_grad():
            plan = self._plan(transport_cost(patches, genes)).T  # (groups, patches)
        return plan @ patches, plan

    def _plan(self, cost: Tensor) -> Tensor:
        """From equal shares of all patches to equal shares of all groups, (patches, groups)."""
        patches, groups = cost.shape
        return unbalanced_sinkhorn(
            cost / cost.max().clamp(min=torch.finfo(cost.dtype).tiny),
            cost.new_full((patches,), 1.0 / patches),
            cost.new_full((groups,), 1.0 / groups),
            self.transport.reg,
            self.transport.reg_marginal,
        )


def transport_cost(patches: Tensor, genes: Tensor) -> Tensor:
    """Squared distances of each patch to each group, after the least feature of each is taken off.

    The squares are multiplied out, so that no copy of the bag is made.

    Args:
        patches: float (patches, dim).
        genes: float (groups, dim).

    Returns:
        float (patches, groups).
    """
    least = patches.amin(dim=1, keepdim=True)  # (patches, 1)
    genes = genes - genes.amin(dim=1, keepdim=True)
    square = torch.linalg.vector_norm(patches, dim=1, keepdim=True).square()  # (patches, 1)
    square = square + least * (patches.shape[1] * least - 2.0 * patches.sum(dim=1, keepdim=True))
    product = patches @ genes.T - least * genes.sum(dim=1)  # (patches, groups)
    return (square - 2.0 * product + genes.square().sum(dim=1)).clamp(min=0.0)
