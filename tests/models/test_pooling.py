"""Pooling batch by batch is pooling at once."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.encoders import EncoderSpec
from tumorbase.models.pooling import RunningMoments, slide_spec

PATCH = EncoderSpec("toy", "1", "patch", 2, "", "{}", True, ("a", "b"))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_batches_pool_to_mean_and_deviation_of_all(offset: float) -> None:
    vectors = np.random.default_rng(0).normal(offset, 3.0, (1000, 5)).astype(np.float32)
    moments = RunningMoments(5)
    for batch in np.split(vectors, [0, 1, 3, 500]):
        moments.add(batch)
    exact = vectors.astype(np.float64)
    expected = np.concatenate([exact.mean(axis=0), exact.std(axis=0)])
    assert moments.count == 1000
    assert moments.pooled().dtype == np.float32
    np.testing.assert_allclose(moments.pooled()[0], expected, rtol=1e-5)


def test_a_batch_that_weighs_more_counts_as_often() -> None:
    once, thrice = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    weighted, repeated = RunningMoments(3), RunningMoments(3)
    weighted.add(once)
    weighted.add(thrice, 3)
    for batch in (once, thrice, thrice, thrice):
        repeated.add(batch)
    np.testing.assert_allclose(weighted.pooled(), repeated.pooled(), rtol=1e-6)


def test_one_vector_has_no_deviation() -> None:
    moments = RunningMoments(2)
    moments.add(np.array([[1.0, -2.0]], np.float32))
    assert moments.pooled().tolist() == [[1.0, -2.0, 0.0, 0.0]]


def test_nothing_cannot_be_pooled() -> None:
    moments = RunningMoments(2)
    moments.add(np.empty((0, 2), np.float32))
    with pytest.raises(ValueError, match="at least one vector"):
        moments.pooled()


def test_slide_vectors_are_bound_to_their_patch_encoder() -> None:
    spec = slide_spec(PATCH)
    other = slide_spec(EncoderSpec("toy", "1", "patch", 2, "", '{"mpp":1}', True, ("a", "b")))
    assert (spec.level, spec.dim, spec.is_standardised) == ("slide", 4, True)
    assert spec.feature_names == ("a_mean", "b_mean", "a_deviation", "b_deviation")
    assert spec.encoder_id != other.encoder_id
