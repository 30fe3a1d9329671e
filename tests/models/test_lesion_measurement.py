"""The measurement encoder: known numbers, unknown ones, and refusals."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tumorbase.models.encoders import build_encoder
from tumorbase.models.lesion_crop import LesionMeasure
from tumorbase.models.lesion_measurement import LesionMeasurement

NAN = float("nan")


def features(measure: LesionMeasure) -> dict[str, float]:
    encoder = LesionMeasurement()
    return dict(zip(encoder.spec.feature_names, encoder.encode([measure])[0].tolist(), strict=True))


def test_known_numbers_are_kept():
    assert features(LesionMeasure(-10, 20, 30, 40, 20)) == pytest.approx(
        {
            "x_mm": -10,
            "y_mm": 20,
            "z_mm": 30,
            "log_long_axis_mm": np.log(40),
            "log_short_axis_mm": np.log(20),
            "axis_ratio": 0.5,
            "is_position_unknown": 0,
            "is_long_axis_unknown": 0,
            "is_short_axis_unknown": 0,
        }
    )


def test_what_is_unknown_is_neutral_and_flagged():
    nothing = features(LesionMeasure(NAN, NAN, NAN, NAN, NAN))
    assert nothing["x_mm"] == nothing["y_mm"] == nothing["z_mm"] == 0
    assert nothing["log_long_axis_mm"] == pytest.approx(np.log(10))
    assert nothing["is_position_unknown"] == 1
    assert nothing["is_long_axis_unknown"] == nothing["is_short_axis_unknown"] == 1


def test_one_unknown_coordinate_leaves_the_others():
    measured = features(LesionMeasure(1, NAN, 3, 10, 8))
    assert (measured["x_mm"], measured["y_mm"], measured["z_mm"]) == (1, 0, 3)
    assert measured["is_position_unknown"] == 1


@pytest.mark.parametrize(("long_mm", "short_mm"), [(20, NAN), (NAN, 20)])
def test_one_axis_stands_for_both_at_a_common_ratio(long_mm, short_mm):
    neutral = features(LesionMeasure(0, 0, 0, NAN, NAN))["axis_ratio"]
    measured = features(LesionMeasure(0, 0, 0, long_mm, short_mm))
    known = "long" if short_mm is NAN else "short"
    assert measured["axis_ratio"] == pytest.approx(neutral)
    assert measured[f"log_{known}_axis_mm"] == pytest.approx(np.log(20))
    assert measured[f"is_{known}_axis_unknown"] == 0


@pytest.mark.parametrize("axis_mm", [0, -1, float("inf")])
def test_an_impossible_axis_is_refused(axis_mm):
    with pytest.raises(ValueError, match="expected"):
        features(LesionMeasure(0, 0, 0, axis_mm, 5))


def test_arrays_and_objects_give_the_same_vectors_in_any_batch():
    encoder = LesionMeasurement()
    table = np.random.default_rng(0).uniform(1, 50, (20, 5))
    table[::3, 4] = NAN
    measures = [LesionMeasure(*row) for row in table.tolist()]
    vectors = encoder.encode_arrays(table[:, :3], table[:, 3], table[:, 4])
    assert np.array_equal(vectors, encoder.encode(measures))
    assert np.array_equal(vectors, np.concatenate([encoder.encode([m]) for m in measures]))


def test_an_empty_batch_has_no_vectors():
    assert LesionMeasurement().encode([]).shape == (0, 9)


def test_fourteen_thousand_rows_take_less_than_a_second():
    table = np.random.default_rng(0).uniform(1, 50, (14_077, 5))
    measures = [LesionMeasure(*row) for row in table.tolist()]
    start = time.perf_counter()
    vectors = LesionMeasurement().encode(measures)
    assert time.perf_counter() - start < 1
    assert vectors.shape == (14_077, 9)
    assert np.isfinite(vectors).all()


def test_the_encoder_is_found_by_its_name():
    spec = build_encoder("measurement").spec
    assert (spec.name, spec.level, spec.is_standardised) == ("measurement", "lesion", True)
    assert spec.dim == len(spec.feature_names)
