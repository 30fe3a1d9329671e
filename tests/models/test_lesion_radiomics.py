"""The radiomics encoders: what must not change their vectors, and lesions at the edge of sense."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tumorbase.models.encoders import build_encoder, canonical
from tumorbase.models.lesion_crop import LesionCrop
from tumorbase.models.lesion_radiomics import (
    KeySliceRadiomics,
    LesionRadiomics,
    key_slice_features,
    lesion_features,
    mr_radiomics,
    pt_radiomics,
)

CENTRE = (0.5, 0.25, 0.75)
ENCODERS = [LesionRadiomics(), KeySliceRadiomics()]
both = pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.spec.name)


def ball(
    radius_mm: float,
    spacing_mm: tuple[float, float, float] = (2.0, 1.0, 1.0),
    seed: int = 0,
    margin: int = 4,
) -> LesionCrop:
    """A ball of soft tissue with smooth noise, in fat, `margin` voxels from the crop's sides."""
    sides = [2 * int(np.ceil(radius_mm / mm)) + 1 + 2 * margin for mm in spacing_mm]
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(sides, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    mask = z**2 + y**2 + x**2 <= radius_mm**2
    noise = np.random.default_rng(seed).normal(0, 40, mask.shape)
    image = np.where(mask, 40 + noise, -100).astype(np.float32)
    return LesionCrop(image, mask, spacing_mm, CENTRE)


def lesion(voxels: list[tuple[int, int, int]], intensity: float = 40.0) -> LesionCrop:
    """A lesion of these voxels of 1 mm in a crop of 5 x 5 x 5."""
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[tuple(np.transpose(voxels))] = True
    return LesionCrop(np.full(mask.shape, intensity, np.float32), mask, (1.0, 1.0, 1.0), CENTRE)


def assert_same(one: dict[str, float], other: dict[str, float]) -> None:
    """Equal but for rounding, which is in single precision for the spatial autocorrelation."""
    in_single = {tag: other[tag] for tag in ("morph_moran_i", "morph_geary_c")}
    in_double = {tag: value for tag, value in other.items() if tag not in in_single}
    assert {tag: one[tag] for tag in in_double} == pytest.approx(in_double, rel=1e-9)
    assert {tag: one[tag] for tag in in_single} == pytest.approx(in_single, abs=1e-6)


def test_key_slices_whose_boxes_are_counted_otherwise_have_another_encoder():
    """They were counted from 1, and of each lesion nearly all features were others."""
    spec = KeySliceRadiomics().spec
    preprocessing = json.loads(spec.preprocessing)
    assert preprocessing.pop("boxes") == "pixels counted from 0"
    from_one = replace(spec, preprocessing=canonical(preprocessing))
    assert from_one.encoder_id == "radiomics-2d-1-9c1b73eb" != spec.encoder_id


@both
def test_vectors_are_named_finite_and_found_by_name(encoder):
    spec = build_encoder(encoder.spec.name).spec
    assert spec.encoder_id == encoder.spec.encoder_id
    assert spec.is_standardised
    assert spec.level == "lesion"
    assert len(set(spec.feature_names)) == spec.dim
    vectors = encoder.encode([ball(9)])
    assert vectors.shape == (1, spec.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


@both
def test_a_vector_does_not_depend_on_its_batch_or_the_time(encoder):
    crops = [ball(5), ball(12, seed=1), ball(7, seed=2)]
    together = encoder.encode(crops)
    alone = np.concatenate([encoder.encode([crop]) for crop in reversed(crops)])
    assert np.array_equal(together, alone[::-1])


@both
def test_an_empty_batch_has_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, encoder.spec.dim)


@both
def test_a_vector_does_not_depend_on_the_margin_of_the_crop(encoder):
    wide = ball(8, margin=9)
    narrow = replace(wide, image=wide.image[8:-8, 5:-5, 3:-3], mask=wide.mask[8:-8, 5:-5, 3:-3])
    assert np.array_equal(encoder.encode([wide]), encoder.encode([narrow]))


@pytest.mark.parametrize("axes", [(1, 2, 0), (2, 1, 0), (0, 2, 1)])
def test_exchanging_axes_changes_no_feature_in_3d(axes):
    crop = ball(9, spacing_mm=(3.0, 1.0, 1.5))
    turned = replace(
        crop,
        image=crop.image.transpose(axes),
        mask=crop.mask.transpose(axes),
        spacing_mm=tuple(crop.spacing_mm[axis] for axis in axes),
    )
    assert_same(lesion_features(turned), lesion_features(crop))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirroring_changes_no_feature_in_3d(axis):
    crop = ball(9, spacing_mm=(3.0, 1.0, 1.5))
    mirrored = replace(crop, image=np.flip(crop.image, axis), mask=np.flip(crop.mask, axis))
    assert_same(lesion_features(mirrored), lesion_features(crop))


def test_turning_the_slice_changes_no_feature_in_2d():
    crop = ball(9, spacing_mm=(3.0, 0.8, 0.8))
    turned = replace(
        crop, image=np.rot90(crop.image, axes=(1, 2)), mask=np.rot90(crop.mask, 1, (1, 2))
    )
    assert key_slice_features(turned) == pytest.approx(key_slice_features(crop), rel=1e-6)


def test_the_key_slice_is_the_one_with_most_of_the_lesion():
    crop = ball(9)
    z = int(crop.mask.sum(axis=(1, 2)).argmax())
    alone = replace(crop, image=crop.image[z : z + 1], mask=crop.mask[z : z + 1])
    assert key_slice_features(crop) == key_slice_features(alone)


def test_shape_of_a_ball_is_the_balls():
    features = lesion_features(ball(20))
    assert features["morph_volume"] == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.02)
    assert features["morph_diam"] == pytest.approx(40, rel=0.05)
    assert features["morph_pca_least_axis"] == pytest.approx(4 * 20 / np.sqrt(5), rel=0.02)
    assert features["morph_pca_flatness"] == pytest.approx(1, abs=0.02)


def test_location_and_log_volume_are_in_the_vector():
    encoder = LesionRadiomics()
    vector = dict(zip(encoder.spec.feature_names, encoder.encode([ball(9)])[0], strict=True))
    assert tuple(vector[f"location_{axis}"] for axis in "xyz") == CENTRE
    volume_mm3 = lesion_features(ball(9))["morph_volume"]
    assert vector["log1p_morph_volume"] == pytest.approx(np.log1p(volume_mm3))


@both
@pytest.mark.parametrize(
    "crop",
    [
        lesion([(2, 2, 2)]),
        lesion([(0, 0, 0)], intensity=0.0),
        lesion([(2, 2, 1), (2, 2, 3)]),
        lesion([(2, 2, 2), (2, 2, 3)], intensity=-1000.0),
        lesion([(2, y, x) for y in range(5) for x in range(5)]),
        lesion([(z, y, x) for z in range(5) for y in range(5) for x in range(5)], 30_000.0),
        replace(ball(9), image=np.zeros_like(ball(9).image)),
        replace(ball(9), spacing_mm=(10.0, 0.3, 0.3)),
    ],
    ids=[
        "voxel",
        "corner voxel",
        "two apart",
        "air",
        "plane",
        "metal",
        "constant",
        "anisotropic",
    ],
)
def test_degenerate_lesions_have_finite_vectors(encoder, crop):
    assert np.isfinite(encoder.encode([crop])).all()


@pytest.mark.parametrize(
    "encoder", [mr_radiomics(), KeySliceRadiomics()], ids=lambda encoder: encoder.spec.name
)
@pytest.mark.parametrize("crop", [lesion([(2, 2, 2)], 0.0), ball(9)], ids=["voxel", "ball"])
def test_lesions_in_mr_have_finite_vectors(encoder, crop):
    assert np.isfinite(encoder.encode([replace(crop, modality="MR")])).all()


def test_each_modality_has_its_own_encoder_which_refuses_the_others():
    encoders = [LesionRadiomics(), mr_radiomics(), pt_radiomics()]
    assert len({encoder.spec.encoder_id for encoder in encoders}) == 3
    with pytest.raises(ValueError, match="radiomics-mr expects lesions of MR, got CT"):
        mr_radiomics().encode([ball(5)])


def test_a_single_voxel_has_the_documented_values():
    features = lesion_features(lesion([(2, 2, 2)]))
    assert features["stat_skew"] == features["stat_kurt"] == 0
    assert features["cm_corr"] == 1
    assert features["cm_contrast"] == features["cm_joint_entr"] == 0
    assert features["ngt_coarseness"] == 1e6
    assert features["morph_pca_maj_axis"] == features["morph_vol_dens_aee"] == 0
    assert features["morph_pca_flatness"] == 1


def test_a_small_lesion_is_measured_on_its_own_grid():
    crop = ball(2.5, spacing_mm=(1.0, 1.0, 1.0))
    assert lesion_features(crop)["morph_vol_approx"] == crop.mask.sum()
    assert lesion_features(ball(9))["morph_vol_approx"] % 8 == 0  # of 2 mm voxels


def test_mr_levels_do_not_depend_on_the_scanners_scale():
    crop = replace(ball(9), modality="MR")
    scaled = replace(crop, image=crop.image * 4)
    one, other = lesion_features(crop), lesion_features(scaled)
    texture = [tag for tag in one if not tag.startswith(("stat_", "morph_integ", "morph_com"))]
    assert {tag: one[tag] for tag in texture} == {tag: other[tag] for tag in texture}


@both
@pytest.mark.parametrize(
    ("crop", "reason"),
    [
        (replace(ball(5), mask=np.zeros_like(ball(5).mask)), "empty mask"),
        (replace(ball(5), mask=ball(5).mask[1:]), "one shape"),
        (replace(ball(5), image=np.full_like(ball(5).image, np.nan)), "finite voxels"),
        (replace(ball(5), spacing_mm=(0.0, 1.0, 1.0)), "positive spacing"),
    ],
    ids=["empty", "shape", "NaN", "spacing"],
)
def test_a_crop_that_cannot_be_measured_is_refused(encoder, crop, reason):
    with pytest.raises(ValueError, match=reason):
        encoder.encode([crop])
