"""Patients like a patient, over what both have."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.query.answers import SimilarQuestion
from tumorbase.query.patient_similarity import fused_distances, patient_space
from tumorbase.query.similar import similar
from tumorbase.store.errors import InvalidRequest

LESIONS = {"A": [[1, 0, 0], [0, 1, 0]], "B": [[2, 2, 0]], "C": [[0, 0, 1]], "D": [[1, 1, 5]]}
SLIDES = {"A": [[1, 0]], "C": [[1, 0.2]], "E": [[0, 1]]}


def parts(level: str, vectors: dict) -> tuple[list[dict], np.ndarray]:
    owners = [patient for patient, rows in vectors.items() for _ in rows]
    records = [{f"{level}_id": f"{p}{n}", "patient_id": p} for n, p in enumerate(owners)]
    return records, np.array([row for rows in vectors.values() for row in rows], dtype=float)


@pytest.fixture
def cohort(store, encoder, put):
    """A to D have lesions, A, C and E slides, B and F an age; G has nothing."""
    lesions, lesion_vectors = parts("lesion", LESIONS)
    slides, slide_vectors = parts("slide", SLIDES)
    facts = [{"patient_id": p, "name": "age", "number": a} for p, a in (("B", 40), ("F", 70))]
    put(
        store,
        "all",
        {
            "patient": [{"patient_id": patient} for patient in "ABCDEFG"],
            "lesion": lesions,
            "slide": slides,
            "fact": facts,
        },
        [
            (encoder("deep", "lesion", 3), lesions, lesion_vectors),
            (encoder("pool", "slide", 2), slides, slide_vectors),
        ],
    )
    return store.view()


def unit(vector) -> np.ndarray:
    return np.asarray(vector, dtype=float) / np.linalg.norm(vector)


def test_a_patients_vector_is_the_mean_of_its_lesions_of_unit_length(cohort):
    space = patient_space(cohort)
    lesion, slide, clinical = space.modalities
    assert [each.name for each in space.modalities] == ["lesion:deep", "slide:pool", "clinical"]
    assert space.patient_ids == list("ABCDEFG")
    for row, patient in enumerate("ABCD"):
        pooled = unit(np.mean([unit(vector) for vector in LESIONS[patient]], axis=0))
        np.testing.assert_allclose(lesion.matrix[row], pooled, atol=1e-6)
    np.testing.assert_array_equal(lesion.present, [True] * 4 + [False] * 3)
    np.testing.assert_array_equal(slide.present, [True, False, True, False, True, False, False])
    np.testing.assert_array_equal(clinical.present, [p in "BF" for p in "ABCDEFG"])


def test_distances_are_those_computed_by_hand(cohort):
    """A is in the direction (1, 1, 0), as B is; the typical distance is that of all pairs."""
    a, b, c, d = (unit(each) for each in ([1, 1, 0], [1, 1, 0], [0, 0, 1], [1, 1, 5]))
    typical = np.mean([1 - x @ y for x, y in ((a, b), (a, c), (a, d), (b, c), (b, d), (c, d))])
    slide = {patient: unit(rows[0]) for patient, rows in SLIDES.items()}
    pairs = (("A", "C"), ("A", "E"), ("C", "E"))
    typical_slide = np.mean([1 - slide[x] @ slide[y] for x, y in pairs])
    distances, _ = fused_distances(patient_space(cohort), 0)
    assert distances[1] == pytest.approx(0, abs=1e-6)
    assert distances[3] == pytest.approx((1 - a @ d) / typical)
    to_c = ((1 - a @ c) / typical + (1 - slide["A"] @ slide["C"]) / typical_slide) / 2
    assert distances[2] == pytest.approx(to_c)
    assert distances[4] == pytest.approx((1 - slide["A"] @ slide["E"]) / typical_slide)


def test_a_distance_is_the_same_from_either_side(cohort):
    space = patient_space(cohort)
    rows = [fused_distances(space, row)[0] for row in range(7)]
    np.testing.assert_allclose(rows, np.transpose(rows), rtol=1e-9)
    assert np.isinf(np.diag(rows)).all()


def test_only_patients_with_a_shared_modality_are_found(cohort):
    found = {p: {h.id for h in similar(cohort, SimilarQuestion("patient", p)).hits} for p in "ABFG"}
    assert found == {"A": set("BCDE"), "B": set("ACDF"), "F": {"B"}, "G": set()}


def test_contributions_are_of_the_shared_modalities_and_make_up_the_distance(cohort):
    hits = {hit.id: hit for hit in similar(cohort, SimilarQuestion("patient", "A")).hits}
    shared = {hit.id: [each.modality for each in hit.contributions] for hit in hits.values()}
    assert shared == {
        "B": ["lesion:deep"],
        "C": ["lesion:deep", "slide:pool"],
        "D": ["lesion:deep"],
        "E": ["slide:pool"],
    }
    for hit in hits.values():
        assert sum(each.weight for each in hit.contributions) == pytest.approx(1)
        parts = [each.weight * each.distance for each in hit.contributions]
        assert sum(parts) == pytest.approx(hit.distance)


def test_hits_are_the_nearest_first_and_filtered(cohort):
    question = SimilarQuestion("patient", "B", limit=2)
    found = similar(cohort, question).hits
    assert found[0].id == "A"
    assert [hit.distance for hit in found] == sorted(hit.distance for hit in found)
    assert len(found) == 2
    older = similar(cohort, SimilarQuestion("patient", "B", where="age > 60"))
    assert [(hit.id, hit.details) for hit in older.hits] == [("F", {"age": 70.0})]
    assert older.receipt.rows_searched == 1
    with pytest.raises(InvalidRequest, match="stage"):
        similar(cohort, SimilarQuestion("patient", "B", where="stage = 'II'"))


def test_patients_all_alike_are_at_no_distance(store, put):
    names = ["P1", "P2", "P3"]
    facts = [{"patient_id": name, "name": "sex", "text": "F"} for name in names]
    facts += [{"patient_id": name, "name": "age", "number": 50.0} for name in names]
    put(store, "all", {"patient": [{"patient_id": n} for n in names], "fact": facts})
    found = similar(store.view(), SimilarQuestion("patient", "P2")).hits
    assert [hit.id for hit in found] == ["P1", "P3"]  # equal distances, by id
    assert np.isfinite([hit.distance for hit in found]).all()
