"""Vectors of nuclei against means made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.nucleus_pooling import pool_under_nuclei


def test_a_nucleus_has_the_mean_of_its_own_pixels():
    labels = np.array([[0, 7, 7], [3, 0, 7]])
    features = np.arange(12, dtype=np.float16).reshape(2, 3, 2)
    pooled = pool_under_nuclei(features, labels)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, [[6, 7], [(2 + 4 + 10) / 3, (3 + 5 + 11) / 3]], rtol=1e-6)


def test_a_pixel_has_the_features_of_its_cell():
    labels = np.array([[0, 7, 7], [3, 0, 7], [3, 3, 3]])
    features = np.arange(4, dtype=np.float16).reshape(
        2, 2, 1
    )  # of the pixels in 2 x 2, the last ones cut
    pooled = pool_under_nuclei(features, labels, cell_px=2)
    np.testing.assert_allclose(pooled, [[(0 + 2 + 2 + 3) / 4], [(0 + 1 + 1) / 3]], rtol=1e-6)


def test_no_nuclei_have_no_vectors():
    assert pool_under_nuclei(np.ones((4, 5, 64), np.float16), np.zeros((4, 5), int)).shape == (
        0,
        64,
    )


def test_features_of_another_place_are_refused():
    with pytest.raises(ValueError, match=r"features of \(4, 5\) pixels.* got \(5, 4\)"):
        pool_under_nuclei(np.ones((5, 4, 64), np.float16), np.zeros((4, 5), int))
    with pytest.raises(ValueError, match="half precision, float16, got float64"):
        pool_under_nuclei(np.ones((4, 5, 64)), np.zeros((4, 5), int))


@pytest.mark.parametrize("cell_px", [1, 2, 3])
def test_means_of_any_halves_are_those_of_each_nucleus_alone(cell_px):
    """Of the largest and the least numbers, and of features that are a part of others."""
    random = np.random.default_rng(0)
    labels = np.kron(random.integers(0, 6, (8, 9)), np.ones((3, 5), dtype=int))[:, 1:]
    cells = tuple(-(-side // cell_px) for side in labels.shape)
    bits = random.integers(0, 2**16, (cells[0], cells[1] + 1, 64), dtype=np.uint16)
    features = np.where(bits & 0x7C00 == 0x7C00, bits & 0x83FF, bits).view(np.float16)[:, 1:]
    pixels = features.astype(np.float64).repeat(cell_px, axis=0).repeat(cell_px, axis=1)
    pixels = pixels[: labels.shape[0], : labels.shape[1]]
    expected = np.stack([pixels[labels == label].mean(axis=0) for label in range(1, 6)])
    pooled = pool_under_nuclei(features, labels, cell_px)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-2)
