"""Nearest neighbours: exact on real rows, with filters, at commits, from memory and from disk."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.query import similar as module
from tumorbase.query.answers import SimilarQuestion
from tumorbase.query.similar import MAX_LIMIT, similar
from tumorbase.server.local import LocalClient
from tumorbase.store.errors import InvalidRequest, NotFound
from tumorbase.store.store import Store

QUERIES = range(0, 14_000, 1_750)


@pytest.fixture(scope="module")
def deeplesion(shared, tmp_path_factory):
    """A view of all 14,077 lesions of two annotation tables of DeepLesion."""
    tables = shared / "data" / "deeplesion" / "fm_annotations"
    paths = [tables / "pretrain.csv", tables / "task1_train.csv"]
    with Store.create(tmp_path_factory.mktemp("deeplesion") / "store") as store:
        ingest(store, paths, IngestOptions(source="deeplesion", workers=1))
        yield store.view()


@pytest.fixture(scope="module")
def lesions(deeplesion):
    """Ids, patients and vectors (float32, of unit length) of all lesions."""
    vectors = deeplesion.vectors(deeplesion.encoder("lesion", "measurement"))
    ids, patients = (vectors.rows[name].to_numpy() for name in ("lesion_id", "patient_id"))
    return ids, patients, vectors


def expected(lesions, place: int, allowed: np.ndarray, limit: int):
    """Ids and distances by numpy in float64, equal distances by id."""
    ids, _, vectors = lesions
    exact = vectors.matrix.astype(np.float64)
    distances = np.clip(1 - (exact * exact[place]).sum(axis=1), 0, 2)
    order = [row for row in np.lexsort((ids.astype(str), distances)) if allowed[row]]
    return ids[order[:limit]].tolist(), distances[order[:limit]]


@pytest.mark.parametrize("same_patient", [False, True])
@pytest.mark.parametrize("limit", [1, 10, MAX_LIMIT])
def test_neighbours_by_id_are_those_of_numpy(deeplesion, lesions, same_patient, limit):
    ids, patients, _ = lesions
    for place in QUERIES:
        allowed = ids != ids[place] if same_patient else patients != patients[place]
        question = SimilarQuestion("lesion", ids[place], limit=limit, same_patient=same_patient)
        found = similar(deeplesion, question)
        wanted_ids, wanted = expected(lesions, place, allowed, limit)
        assert [hit.id for hit in found.hits] == wanted_ids
        np.testing.assert_allclose([hit.distance for hit in found.hits], wanted, atol=1e-12)
        assert found.receipt.rows_searched == allowed.sum()
        assert found.is_exact


def test_neighbours_are_those_of_faiss(deeplesion, lesions):
    ids, _, vectors = lesions
    index = faiss.IndexFlatIP(vectors.matrix.shape[1])
    index.add(vectors.matrix)
    similarities, rows = index.search(vectors.matrix[list(QUERIES)], 31)
    for place, cosines, found_rows in zip(QUERIES, similarities, rows, strict=True):
        others = found_rows != place
        question = SimilarQuestion("lesion", ids[place], limit=30, same_patient=True)
        hits = similar(deeplesion, question).hits
        distances = np.array([hit.distance for hit in hits])
        np.testing.assert_allclose(distances, (1 - cosines[others])[:30], atol=2e-6)
        clear = np.diff(distances, prepend=-1, append=9) > 4e-6  # from the one before
        for rank in np.flatnonzero(clear[:-1] & clear[1:]):
            assert hits[rank].id == ids[found_rows[others][rank]]


def test_a_raw_vector_finds_what_its_lesion_finds(deeplesion, lesions):
    ids, _, vectors = lesions
    place = 100
    by_vector = similar(
        deeplesion, SimilarQuestion("lesion", vector=tuple(vectors.raw[place].tolist()), limit=11)
    )
    by_id = similar(deeplesion, SimilarQuestion("lesion", ids[place], same_patient=True))
    assert by_vector.hits[0].distance == pytest.approx(0, abs=1e-6)
    others = [hit for hit in by_vector.hits if hit.id != ids[place]]
    assert others[:10] == list(by_id.hits)
    assert by_vector.receipt.rows_searched == len(ids)


@pytest.mark.parametrize("where", ["", "age > 60 AND sex = 'F'", "region = 'liver'", "age > 900"])
def test_memory_and_disk_answer_alike_to_the_bit(deeplesion, lesions, where, monkeypatch):
    question = SimilarQuestion("lesion", lesions[0][5000], limit=25, where=where)
    in_memory = similar(deeplesion, question)
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    assert similar(deeplesion, question) == in_memory


def test_a_filter_leaves_what_its_predicate_is_true_of(deeplesion, lesions):
    ids, patients, _ = lesions
    described = deeplesion.table("lesion")
    livers = set(
        described.filter(np.equal(described["region"].to_numpy(), "liver"))["lesion_id"].to_pylist()
    )
    place = 3000
    allowed = np.isin(ids, list(livers)) & (patients != patients[place])
    found = similar(deeplesion, SimilarQuestion("lesion", ids[place], where="region = 'liver'"))
    assert [hit.id for hit in found.hits] == expected(lesions, place, allowed, 10)[0]
    assert {hit.details["region"] for hit in found.hits} == {"liver"}
    assert found.receipt.rows_searched == allowed.sum()


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1, 10_000])
def test_limit_out_of_range_is_refused(store, limit):
    with pytest.raises(InvalidRequest, match="limit must be in"):
        similar(store.view(), SimilarQuestion("lesion", "a", limit=limit))


def lesion_rows(ids: str) -> list[dict]:
    """Lesions named by letters, two of each patient: a and b of ab, c and d of cd ..."""
    pairs = {letter: "abcdefgh"[i // 2 * 2 :][:2] for i, letter in enumerate("abcdefgh")}
    return [{"lesion_id": letter, "patient_id": pairs[letter]} for letter in ids]


@pytest.fixture
def two_encoders(store, encoder, put):
    """Lesions a to f; `flat` (2 numbers) encoded all, `deep` (3 numbers) c to f; g has no vector.

    By `flat`, b, c and e lie equally far from a; d and f are opposite to it.
    """
    flat, deep = encoder("flat", "lesion", 2), encoder("deep", "lesion", 3)
    patch = encoder("stain", "patch", 2)
    angles = np.array([[1, 0], [1, 1], [1, -1], [-1, 0], [2, 2], [-2, 0]])
    slide_patch = [{"patch_id": "s/1", "slide_id": "s", "patient_id": "ab"}]
    put(
        store,
        "all",
        {"lesion": lesion_rows("abcdefg")},
        [
            (flat, lesion_rows("fedcba"), angles[::-1]),
            (deep, lesion_rows("cdef"), np.eye(4, 3) + 0.1),
            (patch, slide_patch, np.ones((1, 2))),
        ],
    )
    return store


def hits(store, *arguments, **options):
    return [hit.id for hit in similar(store.view(), SimilarQuestion(*arguments, **options)).hits]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
def test_equal_distances_are_ordered_by_id(two_encoders, limit):
    found = hits(two_encoders, "lesion", "a", limit=limit, encoder="flat", same_patient=True)
    assert found == ["b", "c", "e", "d", "f"][:limit]


def test_the_querys_patient_is_left_out_unless_asked_for(two_encoders):
    assert hits(two_encoders, "lesion", "a", encoder="flat") == ["c", "e", "d", "f"]
    assert "a" not in hits(two_encoders, "lesion", "a", encoder="flat", same_patient=True)


def test_vectors_of_two_encoders_are_never_compared(two_encoders):
    by_name = similar(two_encoders.view(), SimilarQuestion("lesion", "c", encoder="deep"))
    assert by_name.encoder == "deep-1-abc"
    assert {hit.id for hit in by_name.hits} == {"e", "f"}
    by_id = similar(two_encoders.view(), SimilarQuestion("lesion", "c", encoder="flat-1-abc"))
    assert {hit.id for hit in by_id.hits} == {"a", "b", "e", "f"}


def test_without_a_name_an_encoder_answers_that_encoded_the_lesion(two_encoders):
    assert similar(two_encoders.view(), SimilarQuestion("lesion", "a")).encoder == "flat-1-abc"
    assert similar(two_encoders.view(), SimilarQuestion("lesion", "c")).encoder == "deep-1-abc"


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("question", "error", "message"),
    [
        (SimilarQuestion("lesion", "z"), NotFound, "no lesion 'z'"),
        (SimilarQuestion("lesion", "g"), NotFound, "no vector of lesion 'g'"),
        (SimilarQuestion("lesion", "a", encoder="deep"), NotFound, "no deep vector of lesion 'a'"),
        (SimilarQuestion("lesion", "a", encoder="vgg"), NotFound, "no lesion encoder 'vgg'"),
        (SimilarQuestion("lesion", "a", encoder="stain"), InvalidRequest, "embeds patch, not les"),
        (SimilarQuestion("nucleus", "a"), NotFound, "no nucleus embedding"),
        (SimilarQuestion("organ", "a"), InvalidRequest, "level must be one of lesion, patch"),
        (SimilarQuestion("lesion"), InvalidRequest, "exactly one of id, vector and text, got 0"),
        (SimilarQuestion("lesion", "a", vector=(1.0,)), InvalidRequest, "got 2"),
        (SimilarQuestion("lesion", text="liver"), InvalidRequest, "embeds text"),
        (SimilarQuestion("lesion", "a", where="nope = 1"), InvalidRequest, "nope"),
        (SimilarQuestion("patient", "nobody"), NotFound, "no patient 'nobody'"),
        (SimilarQuestion("patient", vector=(1.0,)), InvalidRequest, "by id"),
    ],
)
def test_unsound_questions_are_refused(
    two_encoders, question, error, message, in_memory, monkeypatch
):
    if not in_memory:
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    with pytest.raises(error, match=message):
        similar(two_encoders.view(), question)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ((1.0, 2.0, 3.0), "must have 2 numbers .* got 3"),
        ((1.0, float("nan")), "numbers in"),
        ((1.0, float("inf")), "numbers in"),
        ((1.0, 1e300), "numbers in"),
        ((0.0, 0.0), "no direction"),
    ],
)
def test_unsound_vectors_are_refused(two_encoders, vector, message):
    with pytest.raises(InvalidRequest, match=message):
        similar(two_encoders.view(), SimilarQuestion("lesion", vector=vector, encoder="flat"))


def test_a_patch_query_finds_nobody_alone(two_encoders):
    found = similar(two_encoders.view(), SimilarQuestion("patch", "s/1"))
    assert found.hits == ()
    assert found.receipt.rows_searched == 0


def test_an_earlier_commit_answers_as_it_did(two_encoders, encoder, put):
    flat = encoder("flat", "lesion", 2)
    question = SimilarQuestion("lesion", "a", encoder="flat")
    client = LocalClient(two_encoders)
    before = client.similar(question)
    put(two_encoders, "more", {"lesion": lesion_rows("h")}, [(flat, lesion_rows("h"), [[1, 0]])])
    after = client.similar(question)
    assert after.hits[0].id == "h"
    old = SimilarQuestion("lesion", "a", encoder="flat", commit=before.receipt.commit)
    assert client.similar(old) == before
    with pytest.raises(NotFound, match="no commit '99'"):
        client.similar(SimilarQuestion("lesion", "a", commit=99))
