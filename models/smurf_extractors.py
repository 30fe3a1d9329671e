"""SMuRF's extractors: one vector of a region of a CT, one of the fragments of a slide."""

from __future__ import annotations

from torch import Tensor, nn

from tumorbase.models.smurf_sub_volumes import SUB_VOLUMES
from tumorbase.models.swin import SwinConfig, SwinTransformer

FRAGMENT_DIM = 192  # of HIPT's ViT-4K
STAGES_READ = 2  # published radiology networks of four stages read the second one's map, too


def radiology_swin(feature_dim: int, stages: int = 2) -> SwinConfig:
    """Swin over sub-volumes: two stages as published for CT and slide, or four as for CT alone.

    Raises:
        ValueError: `feature_dim` is not a multiple of 6, half of it being what three heads share.
    """
    _check(feature_dim)
    windows = ((4, 4, 4), (4, 4, 4), (8, 8, 8), (4, 4, 4))
    return SwinConfig(
        in_channels=SUB_VOLUMES,
        dim=feature_dim // 2,
        patch=(1, 2, 2),
        depths=(2, 2, 2, 2)[:stages],
        heads=(3, 6, 12, 24)[:stages],
        windows=windows[:stages],
    )


def pathology_swin(feature_dim: int) -> SwinConfig:
    """Swin over a grid of ViT-4K vectors; errors as of `radiology_swin`."""
    _check(feature_dim)
    return SwinConfig(
        in_channels=FRAGMENT_DIM,
        dim=feature_dim // 2,
        patch=(2, 2),
        depths=(2, 2),
        heads=(3, 6),
        windows=((4, 4), (4, 4)),
    )


class SwinExtractor(nn.Module):
    """The layers that both extractors share."""

    def __init__(self, config: SwinConfig, feature_dim: int) -> None:
        super().__init__()
        self.swinViT = SwinTransformer(config)
        width = config.dim * 2**STAGES_READ
        self.norm = nn.LayerNorm(width)
        self.dim_reduction = nn.Conv3d(width, feature_dim, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        """Normalised maps, (batch, *sides, width), of (batch, channels, *sides)."""
        return self.norm(self.swinViT(images, STAGES_READ))

    def reduce(self, pooled: Tensor) -> Tensor:
        """Vectors (batch, feature_dim) of pooled maps (batch, width)."""
        return self.dim_reduction(pooled[:, :, None, None, None]).flatten(1)


class RadiologyExtractor(SwinExtractor):
    """One vector of a region of a CT: Swin over its four sub-volumes, then their mean."""

    def forward(self, sub_volumes: Tensor) -> Tensor:
        """Vectors of regions, (patients, feature_dim).

        Args:
            sub_volumes: `region_sub_volumes`, float32 (patients, 4, slices, height, width).

        Raises:
            ValueError: another shape.
        """
        if sub_volumes.ndim != 5 or sub_volumes.shape[1] != SUB_VOLUMES:
            raise ValueError(
                f"expected sub-volumes (patients, {SUB_VOLUMES}, slices, height, width), "
                f"got {tuple(sub_volumes.shape)}"
            )
        return self.reduce(self.features(sub_volumes).mean(dim=(1, 2, 3)))


class PathologyExtractor(SwinExtractor):
    """One vector of a patient's slide: Swin over each fragment's grid, then the mean of all.

    Args:
        config: `pathology_swin`.
        feature_dim: of the vector.
        mixes_channels: fragments and channels are mixed up before the mean, as in the published
            code where there is more than one fragment.
    """

    def __init__(self, config: SwinConfig, feature_dim: int, mixes_channels: bool = False) -> None:
        super().__init__(config, feature_dim)
        self.mixes_channels = mixes_channels

    def forward(self, grids: Tensor, marks: Tensor | None = None) -> Tensor:
        """Vectors of patients, (patients, feature_dim).

        Args:
            grids: ViT-4K vectors where their regions lie, 0 where there is no tissue, float32
                (patients, fragments, 192, rows, columns).
            marks: which fragments are real, bool (patients, fragments), at least one of each
                patient; None where all are.

        Raises:
            ValueError: another shape, or a patient without a fragment.
        """
        if grids.ndim != 5 or grids.shape[2] != FRAGMENT_DIM or 0 in grids.shape:
            raise ValueError(
                f"expected grids (patients, fragments, {FRAGMENT_DIM}, rows, columns), "
                f"got {tuple(grids.shape)}"
            )
        maps = self.features(grids.flatten(0, 1))  # (patients x fragments, rows / 8, .., width)
        if self.mixes_channels:
            width = maps.shape[-1]
            return self.reduce(maps.movedim(-1, 1).reshape(len(grids), width, -1).mean(dim=2))
        fragments = maps.mean(dim=(1, 2)).unflatten(0, grids.shape[:2])  # (patients, .., width)
        return self.reduce(_mean_of_real(fragments, marks))


def _mean_of_real(fragments: Tensor, marks: Tensor | None) -> Tensor:
    """The mean of each patient's real fragments, (patients, width)."""
    if marks is None:
        return fragments.mean(dim=1)
    if marks.shape != fragments.shape[:2] or not bool(marks.any(dim=1).all()):
        raise ValueError(
            f"expected marks {tuple(fragments.shape[:2])} with a real fragment of each patient, "
            f"got {tuple(marks.shape)}"
        )
    weights = marks.to(fragments.dtype)[:, :, None]  # (patients, fragments, 1)
    return (fragments * weights).sum(dim=1) / weights.sum(dim=1)


def _check(feature_dim: int) -> None:
    if feature_dim <= 0 or feature_dim % 6:
        raise ValueError(f"feature_dim must be a multiple of 6, got {feature_dim}")
