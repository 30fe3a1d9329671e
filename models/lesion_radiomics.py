"""The lesion encoders of IBSI radiomics: of a volume, and of a single key slice.

A lesion is trimmed to its mask, resampled linearly, discretised and measured (`first_order`,
`shape_features`, `texture`). Every lesion gets a finite vector: what the formulas leave undefined
for a single voxel or constant intensities is defined, and said, where it is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tumorbase.models.discretisation import fixed_bin_number, fixed_bin_size
from tumorbase.models.encoders import EncoderSpec, canonical
from tumorbase.models.first_order import intensity_histogram, intensity_statistics
from tumorbase.models.lesion_crop import LesionCrop
from tumorbase.models.resample import resample
from tumorbase.models.shape_features import shape_features, slice_features
from tumorbase.models.spatial_autocorrelation import spatial_autocorrelation
from tumorbase.models.texture import level_grid, texture_features

SPACING_MM = 2.0  # as IBSI's configuration C; a 1 cm lesion is 65 voxels
SLICE_SPACING_MM = 1.0
# A smaller lesion is measured on its own grid: resampled, too little of its shape would be left.
MIN_VOXELS = 64
MIN_SLICE_PIXELS = 16

LOWEST_HU, HIGHEST_HU = -1000, 3071  # beyond lie metal and padding
BIN_SIZE_HU = 25
BINS = 32  # of modalities in arbitrary units

# What the vector leaves out. A cosine distance would count a quantity as often as it is repeated:
# these are functions of sphericity, volume or another feature (IBSI says which). Ratios over a mean
# or a sum of HU, which goes through 0, are noise.
_OMITTED_TAGS = (
    "morph_vol_approx morph_comp_1 morph_comp_2 morph_sph_dispr morph_asphericity morph_com "
    "stat_energy stat_cov stat_qcod "
    "cm_sum_avg cm_dissimilarity cm_clust_tend "
    "dzm_lgze dzm_hgze dzm_glnu dzm_glnu_norm dzm_z_perc dzm_gl_var "
    "ngl_dc_perc"
)

# Heavy-tailed over lesions: replaced by sign(x) log(1 + |x|), and named so.
_LOGGED_TAGS = (
    "morph_volume morph_area_mesh morph_diam morph_pca_maj_axis morph_pca_min_axis "
    "morph_pca_least_axis morph_integ_int "
    "area_mm2 long_axis_mm short_axis_mm hull_perimeter_mm "
    "stat_var stat_kurt ih_max_grad ih_min_grad "
    "cm_joint_var cm_diff_var cm_sum_var cm_contrast cm_auto_corr cm_clust_shade cm_clust_prom "
    "rlm_lre rlm_hgre rlm_srhge rlm_lrlge rlm_lrhge rlm_glnu rlm_rlnu rlm_gl_var rlm_rl_var "
    "szm_lze szm_hgze szm_szhge szm_lzlge szm_lzhge szm_glnu szm_zsnu szm_gl_var szm_zs_var "
    "dzm_lde dzm_sdhge dzm_ldlge dzm_ldhge dzm_zdnu dzm_zd_var "
    "ngt_coarseness ngt_contrast ngt_busyness ngt_complexity ngt_strength "
    "ngl_hde ngl_hgce ngl_ldhge ngl_hdlge ngl_hdhge ngl_glnu ngl_dcnu ngl_gl_var ngl_dc_var"
)

_OMITTED, _LOGGED = frozenset(_OMITTED_TAGS.split()), frozenset(_LOGGED_TAGS.split())

_PREPROCESSING = {"interpolation": "linear, grids centred", "mask_threshold": 0.5}
_CT_PREPROCESSING = {
    "clip_hu": [LOWEST_HU, HIGHEST_HU],
    "round_to_hu": 1,
    "bin_size_hu": BIN_SIZE_HU,
    "lowest_hu": LOWEST_HU,
}


class LesionRadiomics:
    """Shape, intensity and texture of a lesion in 3D, with its location; raw measurements.

    Each modality has an encoder of its own: HU, the arbitrary units of MR and the uptake of PET
    are prepared in other ways and compare with nothing but their like.
    """

    def __init__(self, modality: str = "CT") -> None:
        is_ct = modality == "CT"
        preprocessing = {
            "spacing_mm": SPACING_MM,
            "min_voxels": MIN_VOXELS,
            "texture": "3D, directions merged",
            **(_CT_PREPROCESSING if is_ct else {"bins": BINS}),
            "modality": modality,
        }
        name = "radiomics" if is_ct else f"radiomics-{modality.lower()}"
        self._modality = modality
        self.spec = _spec(name, preprocessing, lesion_features(_SMALLEST))

    def encode(self, batch: Sequence[LesionCrop]) -> np.ndarray:
        """Vectors of lesions, float32 (len(batch), dim), finite, each independent of the others.

        Raises:
            ValueError: a mask is empty or of another shape than its image, a voxel is not finite,
                a spacing is not positive, or the modality is another than the encoder's.
        """
        others = {crop.modality for crop in batch} - {self._modality}
        if others:
            name, got = self.spec.name, ", ".join(sorted(others))
            raise ValueError(f"{name} expects lesions of {self._modality}, got {got}")
        return _vectors(self.spec, lesion_features, batch)


def mr_radiomics() -> LesionRadiomics:
    """The encoder of lesions in MR."""
    return LesionRadiomics("MR")


def pt_radiomics() -> LesionRadiomics:
    """The encoder of lesions in PET."""
    return LesionRadiomics("PT")


class KeySliceRadiomics:
    """Shape, intensity and texture of a lesion in its one key slice, with its location.

    Of a crop with several slices, the one with most of the lesion is the key slice.
    """

    def __init__(self) -> None:
        preprocessing = {
            "spacing_mm": SLICE_SPACING_MM,
            "min_pixels": MIN_SLICE_PIXELS,
            "texture": "2D, directions merged, slice of the largest area",
            "boxes": "pixels counted from 0",  # as ingest makes masks of them
            "CT": _CT_PREPROCESSING,
            "other": {"bins": BINS},
        }
        self.spec = _spec("radiomics-2d", preprocessing, key_slice_features(_SMALLEST))

    def encode(self, batch: Sequence[LesionCrop]) -> np.ndarray:
        """Vectors of lesions, float32 (len(batch), dim), finite, each independent of the others.

        Raises:
            ValueError: as for `LesionRadiomics.encode`.
        """
        return _vectors(self.spec, key_slice_features, batch)


def lesion_features(crop: LesionCrop) -> dict[str, float]:
    """All IBSI features of a lesion in 3D by tag, untransformed, lengths in mm.

    Raises:
        ValueError: as for `LesionRadiomics.encode`.
    """
    _check(crop)
    region = _trimmed(crop, (0, 1, 2))
    return _measure(_on_grid(region, np.full(3, SPACING_MM), MIN_VOXELS), is_plane=False)


def key_slice_features(crop: LesionCrop) -> dict[str, float]:
    """Features of a lesion in its key slice, untransformed: the outline's, and IBSI's in the plane.

    Raises:
        ValueError: as for `LesionRadiomics.encode`.
    """
    _check(crop)
    z = int(crop.mask.sum(axis=(1, 2)).argmax())
    key_slice = replace(crop, image=crop.image[z : z + 1], mask=crop.mask[z : z + 1])
    region = _trimmed(key_slice, (1, 2))
    spacing_mm = np.array([crop.spacing_mm[0], SLICE_SPACING_MM, SLICE_SPACING_MM])
    return _measure(_on_grid(region, spacing_mm, MIN_SLICE_PIXELS), is_plane=True)


def _check(crop: LesionCrop) -> None:
    """Raises ValueError for a crop that cannot be measured."""
    if crop.image.shape != crop.mask.shape or crop.mask.ndim != 3:
        raise ValueError(
            "expected an image and a mask (z, y, x) of one shape, "
            f"got {crop.image.shape} and {crop.mask.shape}"
        )
    if not crop.mask.any():
        raise ValueError("expected a lesion, got an empty mask")
    if not np.isfinite(crop.image).all():
        raise ValueError("expected finite voxels, got NaN or infinity")
    if not all(0 < mm < np.inf for mm in crop.spacing_mm):
        raise ValueError(f"expected a positive spacing in mm, got {crop.spacing_mm}")


def _trimmed(crop: LesionCrop, axes: tuple[int, ...]) -> LesionCrop:
    """The crop with a margin of one voxel around its mask along `axes`.

    So neither grid nor vector depends on the margin with which the crop was cut. Where the crop
    ends at the lesion, its outermost voxels are repeated.
    """
    box, widths = [slice(None)] * 3, [(0, 0)] * 3
    for axis in axes:
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(crop.mask.any(axis=others))
        first, last, length = int(filled[0]), int(filled[-1]), crop.mask.shape[axis]
        box[axis] = slice(max(first - 1, 0), min(last + 2, length))
        widths[axis] = (int(first == 0), int(last == length - 1))
    return replace(
        crop,
        image=np.pad(crop.image[tuple(box)], widths, mode="edge"),
        mask=np.pad(crop.mask[tuple(box)], widths),
    )


def _on_grid(crop: LesionCrop, spacing_mm: np.ndarray, least_voxels: int) -> LesionCrop:
    """The crop at another spacing, or as it is where less than `least_voxels` would be left."""
    old_spacing_mm = np.asarray(crop.spacing_mm, dtype=np.float64)
    mask = resample(crop.mask, old_spacing_mm, spacing_mm) >= 0.5
    if mask.sum() < least_voxels:
        return crop
    z_mm, y_mm, x_mm = (float(mm) for mm in spacing_mm)
    image = resample(crop.image, old_spacing_mm, spacing_mm)
    return replace(crop, image=image, mask=mask, spacing_mm=(z_mm, y_mm, x_mm))


def _measure(crop: LesionCrop, is_plane: bool) -> dict[str, float]:
    """Features of a crop on its own grid."""
    image = crop.image
    if crop.modality == "CT":
        # Rounded as IBSI rounds interpolated CT, for a HU is an integer.
        image = np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU)
    intensities = image[crop.mask]
    if crop.modality == "CT":
        discretised = fixed_bin_size(intensities, BIN_SIZE_HU, LOWEST_HU)
    else:
        discretised = fixed_bin_number(intensities, BINS)
    levels = np.zeros(crop.mask.shape, dtype=np.int32)
    levels[crop.mask] = discretised
    spacing_mm = np.asarray(crop.spacing_mm, dtype=np.float64)
    if is_plane:
        shape = slice_features(crop.mask[0], spacing_mm[1:])
    else:
        shape = {
            **shape_features(image, crop.mask, crop.mask, spacing_mm),
            **spatial_autocorrelation(image, crop.mask, spacing_mm),
        }
    return {
        **shape,
        **intensity_statistics(intensities),
        **intensity_histogram(discretised),
        **texture_features(level_grid(levels, crop.mask, is_plane)),
    }


def _vectors(
    spec: EncoderSpec,
    measure: Callable[[LesionCrop], dict[str, float]],
    batch: Sequence[LesionCrop],
) -> np.ndarray:
    """Measures each lesion: float32 (len(batch), dim), in the order of the spec's feature names."""
    vectors = np.empty((len(batch), spec.dim), dtype=np.float32)
    for row, crop in enumerate(batch):
        features = measure(crop)
        kept = [_scaled(name, features[name]) for name in features if name not in _OMITTED]
        vectors[row] = [*kept, *crop.location]
    return vectors


def _scaled(name: str, value: float) -> float:
    """Heavy-tailed features on a signed logarithmic scale, others as they are."""
    return float(np.sign(value) * np.log1p(abs(value))) if name in _LOGGED else value


def _spec(name: str, preprocessing: dict[str, Any], features: Iterable[str]) -> EncoderSpec:
    """The spec of an encoder that keeps these features, in this order, and adds the location."""
    kept = [
        f"log1p_{feature}" if feature in _LOGGED else feature
        for feature in features
        if feature not in _OMITTED
    ]
    names = (*kept, "location_x", "location_y", "location_z")
    return EncoderSpec(
        name=name,
        version="1",
        level="lesion",
        dim=len(names),
        weights_sha256=hashlib.sha256(b"").hexdigest(),  # it has none
        preprocessing=canonical({**_PREPROCESSING, **preprocessing, "features": names}),
        is_standardised=True,
        feature_names=names,
    )


# A lesion of one voxel, which has every feature.
_SMALLEST = LesionCrop(
    np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), bool), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5)
)
