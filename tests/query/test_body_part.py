"""How far down the body a lesion lies is a column of lesions, from the level of that name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tumorbase.query.answers import SimilarQuestion
from tumorbase.query.export import export_level
from tumorbase.query.similar import similar
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.store import Store

LESIONS = [{"lesion_id": f"L{n}", "patient_id": f"P{n}"} for n in range(4)]


@pytest.fixture
def filled(store: Store, put: Callable, encoder: Callable) -> Store:
    """Four lesions in a row; all but the last have a score of 0, 10 and 20."""
    patients = [{"patient_id": row["patient_id"]} for row in LESIONS]
    embeddings = np.array([[1, n / 10] for n in range(4)])
    scores = np.array([[0.0], [10.0], [20.0]])
    tables = {"patient": patients, "lesion": LESIONS}
    vectors = [
        (encoder("radiomics", "lesion", 2), LESIONS, embeddings),
        (encoder("ssbr", "body_part", 1), LESIONS[:3], scores),
    ]
    put(store, "item", tables, vectors)
    return store


def test_lesions_come_with_their_score(filled: Store) -> None:
    table = export_level(filled.view(), "lesion").read_all()
    assert table["lesion_id"].to_pylist() == ["L0", "L1", "L2", "L3"]
    assert table["body_part"].to_pylist() == [0, 10, 20, None]


def test_hits_are_filtered_by_their_score(filled: Store) -> None:
    question = SimilarQuestion(level="lesion", id="L0", limit=3)
    answer = similar(filled.view(), replace(question, where="body_part > 10"))
    assert [(hit.id, hit.details["body_part"]) for hit in answer.hits] == [("L2", 20.0)]


def test_scores_of_two_regressors_are_not_mixed(
    filled: Store, put: Callable, encoder: Callable
) -> None:
    other = replace(encoder("ssbr", "body_part", 1), encoder_id="ssbr-1-other")
    put(filled, "later", {}, [(other, LESIONS[3:], np.array([[0.5]]))])
    table = export_level(filled.view(), "lesion").read_all()
    assert table["body_part"].to_pylist() == [None, None, None, 0.5]


def test_a_score_is_no_vector_to_search_by(filled: Store) -> None:
    with pytest.raises(InvalidRequest, match=r"level must be one of lesion, patch, .* 'body_part'"):
        similar(filled.view(), SimilarQuestion(level="body_part", id="L0", limit=1))
