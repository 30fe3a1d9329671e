"""The built-in patch encoder measures stain and texture, one patch at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.feature import graycomatrix, graycoprops

from tumorbase.models.stain_texture import (
    DENSITY_LEVELS,
    EOSIN,
    FEATURES,
    HAEMATOXYLIN,
    StainTexture,
    _binary_patterns,
    _cooccurrence,
)


@pytest.fixture(scope="module")
def patches(shared: Path) -> np.ndarray:
    """Nine neighbouring patches of 256 px of a stained tile."""
    image = Image.open(shared / "data/pathology/tiles/target_image.png").convert("RGB")
    rgb = np.asarray(image)[:768, :768]
    return rgb.reshape(3, 256, 3, 256, 3).swapaxes(1, 2).reshape(-1, 256, 256, 3)


def _feature(vectors: np.ndarray, name: str) -> np.ndarray:
    return vectors[:, FEATURES.index(name)]


def test_vectors_are_finite_and_independent_of_the_batch(patches: np.ndarray) -> None:
    encoder = StainTexture()
    many = np.concatenate([patches, patches[::-1]])
    together = encoder.encode(many)
    assert together.shape == (18, encoder.spec.dim)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate([encoder.encode(patch[None]) for patch in many])
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_patch_has_a_finite_vector(level: int) -> None:
    vectors = StainTexture().encode(np.full((1, 64, 48, 3), level, np.uint8))
    assert np.isfinite(vectors).all()


def test_noise_has_a_finite_vector() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 33, 47, 3), dtype=np.uint8)
    assert np.isfinite(StainTexture().encode(noise)).all()


@pytest.mark.parametrize(
    ("stain", "vector", "other"),
    [("haematoxylin", HAEMATOXYLIN, "eosin"), ("eosin", EOSIN, "haematoxylin")],
)
def test_stain_densities_are_what_was_put_in(
    stain: str, vector: tuple[float, ...], other: str
) -> None:
    unit = np.array(vector) / np.linalg.norm(vector)
    rgb = np.rint(256 * 10 ** (-0.6 * unit)).astype(np.uint8)
    vectors = StainTexture().encode(np.broadcast_to(rgb, (1, 64, 64, 3)).copy())
    assert _feature(vectors, f"{stain}_mean") == pytest.approx(0.6, abs=0.04)
    assert _feature(vectors, f"{other}_mean") == pytest.approx(0.0, abs=0.04)
    level = 2.0 / DENSITY_LEVELS
    assert _feature(vectors, f"{stain}_q50") == pytest.approx(0.6, abs=0.04 + level)


def test_colour_moments_are_those_of_the_pixels(patches: np.ndarray) -> None:
    vectors = StainTexture().encode(patches)
    for channel, name in enumerate(("red", "green", "blue")):
        values = patches[..., channel].reshape(len(patches), -1) / 256.0
        np.testing.assert_allclose(_feature(vectors, f"{name}_mean"), values.mean(1), atol=0.016)
        np.testing.assert_allclose(_feature(vectors, f"{name}_deviation"), values.std(1), atol=0.01)


def test_quantiles_ascend(patches: np.ndarray) -> None:
    vectors = StainTexture().encode(patches)
    for stain in ("haematoxylin", "eosin", "residual"):
        names = [f"{stain}_q{q}" for q in ("05", "25", "50", "75", "95")]
        columns = np.stack([_feature(vectors, name) for name in names])
        assert (np.diff(columns, axis=0) >= 0).all()


def test_binary_patterns_of_a_step_are_known() -> None:
    """Beside the step three of eight neighbours are darker; elsewhere none is."""
    grey = np.full((1, 12, 10), 50, np.uint8)
    grey[:, :, 5:] = 200
    expected = np.zeros(10)
    expected[[5, 8]] = 1 / 8, 7 / 8
    for turned in (grey, grey.transpose(0, 2, 1), grey[:, :, ::-1]):
        np.testing.assert_allclose(_binary_patterns(turned)[0, 5], 1 / 8, atol=0.03)
    np.testing.assert_allclose(_binary_patterns(grey)[0], expected)


def test_binary_patterns_of_noise_are_mostly_not_uniform() -> None:
    """Of the 256 patterns 58 are uniform (Ojala et al. 2002)."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 200, 200), dtype=np.uint8)
    assert 0.4 < _binary_patterns(noise)[0, 9] < 0.8


def test_cooccurrence_is_that_of_scikit_image(patches: np.ndarray) -> None:
    plane = patches[:2, :, :, 1]
    for offset in (2, 4):
        ours = _cooccurrence(plane, offset)
        for features, image in zip(ours, plane, strict=True):
            levels = (image[::2, ::2] >> 5).astype(np.uint8)
            angles = [0.0, np.pi / 2]
            matrices = graycomatrix(levels, [offset // 2], angles, 8, symmetric=True, normed=True)
            mean = matrices.mean(axis=3, keepdims=True)
            expected = [graycoprops(mean, name)[0, 0] for name in ("contrast", "homogeneity")]
            expected += [graycoprops(mean, "ASM")[0, 0]]
            np.testing.assert_allclose(features[:3], expected, rtol=1e-6)
            correlation = graycoprops(mean, "correlation")[0, 0]
            assert features[4] == pytest.approx(correlation, rel=1e-6)


def test_coarser_texture_moves_the_gradient_to_coarser_scales() -> None:
    fine = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    coarse = np.kron(fine[:16, :16], np.ones((8, 8), np.uint8))
    batch = np.repeat(np.stack([fine, coarse])[..., None], 3, axis=3)
    vectors = StainTexture().encode(batch)
    fall = _feature(vectors, "gradient_grey_1px") - _feature(vectors, "gradient_grey_8px")
    assert fall[0] > 0 > fall[1]


def test_names_are_as_many_as_values_and_unique() -> None:
    spec = StainTexture().spec
    assert len(set(spec.feature_names)) == spec.dim
    assert spec.level == "patch"
    assert spec.is_standardised


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 64, 64), np.uint8),
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((1, 8, 64, 3), np.uint8),
    ],
)
def test_what_is_no_patch_is_refused(batch: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8|at least 16"):
        StainTexture().encode(batch)


def test_no_patches_have_no_vectors() -> None:
    assert StainTexture().encode(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, len(FEATURES))
