"""What a network of one patient is given: a bag of patches, and a vector of each group of genes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_patches(patches: Tensor, patch_dim: int) -> None:
    """Refuse what is no bag of patch vectors.

    Raises:
        ValueError: `patches` is not (patches, patch_dim), or has none.
    """
    if patches.ndim != 2 or len(patches) == 0 or patches.shape[1] != patch_dim:
        raise ValueError(
            f"patches must be (patches, {patch_dim}) with at least one patch, "
            f"got {tuple(patches.shape)}"
        )


def check_omics(omics: Sequence[Tensor], omic_sizes: Sequence[int]) -> None:
    """Refuse genomic vectors of other sizes than the network was made for.

    Raises:
        ValueError: they are not as many vectors of these sizes.
    """
    shapes = [tuple(omic.shape) for omic in omics]
    if shapes != [(size,) for size in omic_sizes]:
        raise ValueError(f"omics must have the sizes {tuple(omic_sizes)}, got shapes {shapes}")
