"""Principal components of profiles, checked against scikit-learn's."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tumorbase.models.gene_pca import MAX_COMPONENTS, GenePca


@pytest.fixture
def profiles() -> np.ndarray:
    """40 profiles of 200 columns with three strong directions, (40, 200)."""
    random = np.random.default_rng(1)
    factors = random.normal(size=(40, 3)) * [5.0, 3.0, 2.0]
    return factors @ random.normal(size=(3, 200)) + random.normal(size=(40, 200)) + 7.0


def names(count: int) -> list[str]:
    return [f"G{index}_rnaseq" for index in range(count)]


def test_scores_equal_those_of_scikit_learn_up_to_sign(profiles) -> None:
    encoder = GenePca.fit(names(200), profiles)
    standardised = (profiles - profiles.mean(axis=0)) / profiles.std(axis=0)
    expected = PCA(n_components=encoder.spec.dim, svd_solver="full").fit_transform(standardised)
    scores = encoder.encode(profiles)
    np.testing.assert_allclose(np.abs(scores[:, :3]), np.abs(expected[:, :3]), rtol=1e-3, atol=1e-3)


def test_number_of_components_is_bounded_by_the_profiles(profiles) -> None:
    assert GenePca.fit(names(200), profiles).spec.dim == MAX_COMPONENTS
    assert GenePca.fit(names(200), profiles[:10]).spec.dim == 9
    assert GenePca.fit(names(2), profiles[:, :2]).spec.dim == 2


def test_fitted_weights_survive_storage(profiles) -> None:
    encoder = GenePca.fit(names(200), profiles)
    again = GenePca.from_bytes(encoder.artefact)
    assert again.spec == encoder.spec
    assert again.artefact == encoder.artefact
    assert encoder.spec.weights_sha256 == hashlib.sha256(encoder.artefact).hexdigest()
    np.testing.assert_array_equal(again.encode(profiles), encoder.encode(profiles))


def test_last_bits_of_the_values_do_not_make_another_encoder(profiles) -> None:
    first = GenePca.fit(names(200), profiles).spec.encoder_id
    assert GenePca.fit(names(200), profiles * (1 + 1e-15)).spec.encoder_id == first
    assert GenePca.fit(names(200), profiles * np.tile([1.0, 2.0], 100)).spec.encoder_id != first


def test_missing_value_counts_as_the_mean(profiles) -> None:
    encoder = GenePca.fit(names(200), profiles)
    with_gap, with_mean = profiles[:1].copy(), profiles[:1].copy()
    with_gap[0, 5], with_mean[0, 5] = np.nan, profiles[:, 5].mean()
    np.testing.assert_allclose(encoder.encode(with_gap), encoder.encode(with_mean), atol=1e-4)


def test_column_missing_from_all_or_constant_is_harmless(profiles) -> None:
    profiles[:, 0], profiles[:, 1] = np.nan, 3.0
    assert np.isfinite(GenePca.fit(names(200), profiles).encode(profiles)).all()


def test_vector_does_not_depend_on_the_batch(profiles) -> None:
    encoder = GenePca.fit(names(200), profiles)
    alone = np.vstack([encoder.encode(profile[None]) for profile in profiles])
    np.testing.assert_allclose(encoder.encode(profiles), alone, atol=1e-5)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3)), np.zeros((5, 4)), np.zeros((5, 3)), np.full((5, 3), np.inf)]
)
def test_profiles_that_cannot_be_fitted_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected at least 3|varies|infinity"):
        GenePca.fit(names(3), bad)


def test_profile_of_another_panel_is_refused(profiles) -> None:
    with pytest.raises(ValueError, match="must have 200 values"):
        GenePca.fit(names(200), profiles).encode(np.zeros((1, 3)))
