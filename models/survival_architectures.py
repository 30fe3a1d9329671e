"""The survival networks that a cohort can train, listed once: what each takes of a patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tumorbase.models.networks import build

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """What a network takes: a bag of patches or not, and genes as one vector or one a group."""

    takes_patches: bool = True
    genes: Literal["none", "panel", "groups"] = "none"


ARCHITECTURES: dict[str, Architecture] = {
    "snn": Architecture(takes_patches=False, genes="panel"),
    "mcat": Architecture(genes="groups"),
    "motcat": Architecture(genes="groups"),
    "pathgen": Architecture(genes="groups"),
    "amil": Architecture(),
    "clam": Architecture(),
    "transmil": Architecture(),
    "porpoise": Architecture(genes="panel"),
    "hfbsurv": Architecture(genes="groups"),
}


def make_network(name: str, patch_dim: int, omic_sizes: Sequence[int]) -> nn.Module:
    """A network of `ARCHITECTURES` for four time bins, in training mode.

    Args:
        name: of the architecture.
        patch_dim: features of a patch; 0 where it takes none.
        omic_sizes: features of each vector of genes; none where it takes none.
    """
    takes = ARCHITECTURES[name]
    if not takes.takes_patches:
        return build(name, input_dim=omic_sizes[0])
    if takes.genes == "none":
        return build(name, patch_dim=patch_dim)
    return build(name, patch_dim=patch_dim, omic_sizes=tuple(omic_sizes))
