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
    features = np.arange(4).reshape(2, 2, 1)  # of the pixels in 2 x 2, the last ones cut
    pooled = pool_under_nuclei(features, labels, cell_px=2)
    np.testing.assert_allclose(pooled, [[(0 + 2 + 2 + 3) / 4], [(0 + 1 + 1) / 3]], rtol=1e-6)


def test_no_nuclei_have_no_vectors():
    assert pool_under_nuclei(np.ones((4, 5, 64)), np.zeros((4, 5), int)).shape == (0, 64)


def test_features_of_another_place_are_refused():
    with pytest.raises(ValueError, match=r"features of \(4, 5\) pixels.* got \(5, 4\)"):
        pool_under_nuclei(np.ones((5, 4, 64)), np.zeros((4, 5), int))
