"""A lesion that was drawn in a series and measured by hand is one lesion of its study."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.query.study_lesions import study_lesions
from tumorbase.query.survival_features import feature_blocks, patient_features
from tumorbase.store.store import Store

MASK = {
    "lesion_id": "ct/primary-1", "patient_id": "p", "study_id": "s", "series_id": "ct",
    "region": "primary", "type": "GTV", "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0,
    "x_min_mm": -9.0, "y_min_mm": -9.0, "z_min_mm": -9.0,
    "x_max_mm": 9.0, "y_max_mm": 9.0, "z_max_mm": 9.0,
    "long_axis_mm": 18.0, "short_axis_mm": 17.0, "volume_mm3": 3000.0,
}  # fmt: skip
ALONE = MASK | {"lesion_id": "ct/primary-2", "x_min_mm": 91.0, "x_max_mm": 109.0, "x_mm": 100.0}
BY_HAND = {
    "lesion_id": "L1", "patient_id": "p", "study_id": "s", "region": "Liver", "x_mm": 2.0,
    "y_mm": 1.0, "z_mm": 0.0, "long_axis_mm": 20.0,
}  # fmt: skip


@pytest.fixture
def measured(store, put, encoder) -> Store:
    """A study of two masks, of which one was measured, with vectors of looks and measurements."""
    rows = [MASK, ALONE, BY_HAND]
    ids = [{name: row[name] for name in ("lesion_id", "patient_id")} for row in rows]
    looks = (encoder("look", "lesion", 1, True), ids[:2], np.array([[10.0], [30.0]]))
    axes = np.array([[row["long_axis_mm"]] for row in rows])
    put(store, "all", {"patient": [{"patient_id": "p"}], "lesion": rows},
        [looks, (encoder("measurement", "lesion", 1, True), ids, axes)])  # fmt: skip
    return store


def test_the_measured_row_stays_and_is_completed_by_the_drawn_one(measured):
    one, other = study_lesions(measured.view()).to_pylist()
    assert (one["lesion_id"], one["vector_id"]) == ("L1", "ct/primary-1")
    assert (one["long_axis_mm"], one["short_axis_mm"], one["volume_mm3"]) == (20, 17, 3000)
    assert (one["region"], one["type"], one["series_id"], one["x_mm"]) == ("Liver", "GTV", "ct", 2)
    assert (other["lesion_id"], other["vector_id"]) == ("ct/primary-2", "ct/primary-2")
    assert measured.view().table("lesion").num_rows == 3


def test_pet_counts_only_where_nothing_else_was_drawn_on(store, put):
    def on(series: str, study: str, number: int) -> dict:
        return MASK | {"lesion_id": f"{series}/{number}", "series_id": series, "study_id": study}

    lesions = [on("ct", "s1", 1), on("pet", "s1", 1), on("pet", "s1", 2), on("pet-2", "s2", 1)]
    series = [
        {"series_id": name, "study_id": study, "patient_id": "p", "modality": modality}
        for name, study, modality in (
            ("ct", "s1", "CT"),
            ("pet", "s1", "PT"),
            ("pet-2", "s2", "PT"),
        )
    ]
    put(store, "all", {"patient": [{"patient_id": "p"}], "series": series, "lesion": lesions})
    found = study_lesions(store.view())["lesion_id"].to_pylist()
    assert found == ["ct/1", "pet-2/1"]


def test_survival_features_have_the_looks_that_were_drawn_and_the_axes_that_were_measured(measured):
    blocks = tuple(each for each in feature_blocks(measured.view()) if each.modality == "lesion")
    (row,) = patient_features(measured.view(), blocks, ["p"]).matrix
    found = dict(zip([name for block in blocks for name in block.columns], row, strict=False))
    assert (found["lesions"], found["total_volume_mm3"], found["longest_axis_mm"]) == (2, 6000, 20)
    assert (found["look:f0"], found["measurement:f0"]) == (20, 19)
