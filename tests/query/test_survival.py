"""Survival models trained and scored over a real store."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.models.cox import CoxModel, cox_risk
from tumorbase.query.answers import TrainingQuestion
from tumorbase.query.risk_groups import risk_groups
from tumorbase.query.survival import score_patients, train_survival
from tumorbase.query.survival_cohort import percentiles
from tumorbase.query.survival_features import FeatureBlock, feature_blocks, patient_features
from tumorbase.query.survival_model import HeldOut, SurvivalModel, model_bytes, read_model
from tumorbase.store.commit import CommitContent, StagedVectors
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, NotEnoughData, NotFound
from tumorbase.store.schema import METADATA, VECTOR_ROWS
from tumorbase.store.store import Store

PATIENTS = 120
GENES = [f"G{index}_rnaseq" for index in range(20)]
ENCODER = StoredEncoder("look-1-ab", "look", "1", "lesion", 2, "w", "{}", True, ("a", "b"))
QUESTION = TrainingQuestion("OS", "cox", "m")


def rows(table: str, records: list[dict]) -> pa.Table:
    """Rows of a metadata table, null where a record has no such column."""
    full = [{name: record.get(name) for name in METADATA[table].names} for record in records]
    return pa.Table.from_pylist(full, schema=METADATA[table])


def staged(store: Store, lesion_ids: list[str], patients: list[str], vectors: np.ndarray):
    """Vectors of `ENCODER` as ingest stages them."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype("f4").ravel()), 2)
    table = pa.table(
        {"lesion_id": lesion_ids, "patient_id": patients, "vector": column},
        schema=pa.schema([*VECTOR_ROWS["lesion"], ("vector", column.type)]),
    )
    file = store.staging() / f"{lesion_ids[0]}.arrows"
    with pa.ipc.new_stream(str(file), table.schema) as writer:
        writer.write_table(table)
    return StagedVectors(ENCODER, file)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """120 patients p000.. of whom the hazard follows G0_rnaseq and stage.

    All have a profile but every tenth; all have a sex, age and stage but p001 and p010; even ones
    have lesions, in two studies. Endpoint OS has many events, PFS three. Of `void` only the name is
    known.
    """
    rng = np.random.default_rng(5)
    ids = [f"p{index:03d}" for index in range(PATIENTS)]
    genes = rng.normal(size=(PATIENTS, len(GENES)))
    stage = rng.integers(0, 3, PATIENTS)
    days = np.ceil(rng.exponential(400 * np.exp(-1.2 * genes[:, 0] - 0.8 * (stage == 2))))
    with_profile = [index for index in range(PATIENTS) if index % 10]
    facts = [
        fact
        for index, patient in enumerate(ids)
        if index not in (1, 10)
        for fact in (
            {"patient_id": patient, "name": "sex", "text": "FM"[index % 2]},
            {"patient_id": patient, "name": "age", "number": 50.0 + index % 30},
            {"patient_id": patient, "name": "stage", "text": ("I", "II", "III")[stage[index]]},
        )
    ]
    lesions, vectors = [], []
    for patient in ids[::2]:
        for study in (1, 2):
            for volume in (100.0, 300.0):
                lesions.append(
                    {"lesion_id": f"{patient}-{study}-{volume:.0f}", "patient_id": patient,
                     "study_id": f"{patient}-s{study}", "region": "primary",
                     "volume_mm3": volume, "long_axis_mm": volume / 10}
                )  # fmt: skip
                vectors.append([volume, study])
    studies = [
        # By date the second study of p000 is the first one.
        {"patient_id": row["patient_id"], "study_id": row["study_id"],
         "study_date": datetime(2020, 3 - int(row["study_id"][-1]), 1)}
        if row["patient_id"] == "p000"
        else {"patient_id": row["patient_id"], "study_id": row["study_id"]}
        for row in lesions
    ]  # fmt: skip
    tables = {
        "patient": rows("patient", [{"patient_id": patient} for patient in [*ids, "void"]]),
        "fact": rows("fact", facts),
        "panel": rows("panel", [{"panel_id": "panel", "columns": GENES}]),
        "profile": rows("profile", [
            {"profile_id": ids[index], "patient_id": ids[index], "panel_id": "panel",
             "measured": genes[index].tolist()} for index in with_profile]),
        "lesion": rows("lesion", lesions),
        "study": rows("study", studies),
        "outcome": rows("outcome", [
            {"patient_id": patient, "endpoint": endpoint, "time_days": days[index],
             "is_event": index % 3 > 0 if endpoint == "OS" else index < 3}
            for index, patient in enumerate(ids) for endpoint in ("OS", "PFS")]),
    }  # fmt: skip
    with Store.create(tmp_path_factory.mktemp("survival") / "store") as store:
        names = ([row["lesion_id"] for row in lesions], [row["patient_id"] for row in lesions])
        found = staged(store, *names, np.array(vectors))
        store.commit(CommitContent("all", "test", "all", "1", "run", tables, (found,)))
        yield store


@pytest.fixture(scope="module")
def trained(store):
    """A model `m` of endpoint OS, trained with the default folds."""
    return train_survival(store, QUESTION)


def test_planted_signal_is_learnt(trained):
    assert trained.c_index.mean > 0.65
    assert len(trained.c_index.folds) == 5
    assert trained.c_index.mean == pytest.approx(np.mean(trained.c_index.folds))
    assert (trained.patients, trained.events) == (PATIENTS, 80)


def test_receipt_tells_how_many_patients_have_which_modality(trained):
    assert trained.receipt.notes == (
        "lesion: 60 of 120 patients",
        "profile: 108 of 120 patients",
        "clinical: 118 of 120 patients",
    )


def test_receipt_says_when_nothing_predicts(tmp_path):
    rng = np.random.default_rng(3)
    ids = [f"q{index}" for index in range(60)]
    age, days = rng.normal(size=60), rng.exponential(100, 60)
    tables = {
        "patient": rows("patient", [{"patient_id": patient} for patient in ids]),
        "fact": rows("fact", [
            {"patient_id": patient, "name": "age", "number": age[row]}
            for row, patient in enumerate(ids)]),
        "outcome": rows("outcome", [
            {"patient_id": patient, "endpoint": "OS", "time_days": days[row], "is_event": True}
            for row, patient in enumerate(ids)]),
    }  # fmt: skip
    with Store.create(tmp_path / "store") as store:
        store.commit(CommitContent("all", "test", "all", "1", "run", tables))
        notes = train_survival(store, QUESTION).receipt.notes
        assert any("no feature predicts" in note for note in notes)
        with pytest.raises(NotEnoughData, match="one risk group"):
            risk_groups(store.view(), "m")


def test_training_again_gives_the_same_bytes(store, trained):
    first = store.view().model("m")[1]
    assert train_survival(store, QUESTION).c_index == trained.c_index
    assert store.view().model("m")[1] == first


def test_model_is_described_in_the_store(store, trained):
    kind, _, details = store.view().model("m")
    assert kind == "survival/cox"
    assert json.loads(details)["c_index"] == list(trained.c_index.folds)


def test_risk_follows_the_planted_gene(store, trained):
    view = store.view()
    ids = [f"p{index:03d}" for index in range(PATIENTS) if index % 10]
    risks = [score.risk for score in score_patients(view, "m", ids).scores]
    gene = [row["measured"][0] for row in view.table("profile").to_pylist()]
    assert np.corrcoef(risks, gene)[0, 1] > 0.6


def test_score_has_percentile_falling_curve_and_modalities(store, trained):
    scored = score_patients(store.view(), "m", ["p002", "p010", "p001"])
    assert [score.patient_id for score in scored.scores] == ["p002", "p010", "p001"]
    assert [score.modalities for score in scored.scores] == [
        ("lesion", "profile", "clinical"),
        ("lesion",),
        ("profile",),
    ]
    for score in scored.scores:
        assert 0 <= score.percentile <= 100
        assert (score.survival.time_days[0], score.survival.probability[0]) == (0.0, 1.0)
        assert len(score.survival.time_days) <= 100
        assert (np.diff(score.survival.probability) <= 0).all()


def test_percentile_orders_as_risk(store, trained):
    scores = score_patients(store.view(), "m", [f"p{index:03d}" for index in range(60)]).scores
    by_risk = sorted(scores, key=lambda score: score.risk)
    assert all(a.percentile <= b.percentile for a, b in pairwise(by_risk))


def test_unknown_patient_or_model_is_not_found(store, trained):
    with pytest.raises(NotFound, match="nobody"):
        score_patients(store.view(), "m", ["nobody"])
    with pytest.raises(NotFound, match="model"):
        score_patients(store.view(), "other", ["p001"])


def test_patient_of_whom_nothing_is_known_is_not_scored(store, trained):
    with pytest.raises(NotEnoughData, match="void"):
        score_patients(store.view(), "m", ["void"])


def test_model_of_another_kind_is_refused(store):
    store.save_model("picture", "vision", b"", {})
    with pytest.raises(InvalidRequest, match="survival/cox"):
        score_patients(store.view(), "picture", ["p001"])


def test_unknown_endpoint_is_refused_with_those_there_are(store):
    with pytest.raises(InvalidRequest, match="OS, PFS"):
        train_survival(store, replace(QUESTION, endpoint="DFS"))


def test_unknown_architecture_is_refused(store):
    with pytest.raises(InvalidRequest, match="cox"):
        train_survival(store, replace(QUESTION, architecture="forest"))


def test_too_few_events_are_refused(store):
    with pytest.raises(NotEnoughData, match="at least 10 events"):
        train_survival(store, replace(QUESTION, endpoint="PFS"))


def test_patient_in_train_and_val_of_a_fold_is_refused(store):
    ids = tuple(f"p{index:03d}" for index in range(PATIENTS))
    with pytest.raises(InvalidRequest, match="p005"):
        train_survival(store, replace(QUESTION, folds=((ids[:100], ("p005", *ids[100:])),)))


def test_given_folds_are_used_and_strangers_noted(store):
    ids = tuple(f"p{index:03d}" for index in range(PATIENTS))
    folds = ((ids[:80], (*ids[80:], "stranger")), (ids[40:], ids[:40]))
    trained = train_survival(store, replace(QUESTION, folds=folds, name="folded"))
    assert len(trained.c_index.folds) == 2
    assert any("1 patients" in note for note in trained.receipt.notes)


def test_fold_without_known_patients_is_refused(store):
    with pytest.raises(InvalidRequest, match="fold 0"):
        train_survival(store, replace(QUESTION, folds=((("x",), ("y",)),)))


def test_lesion_features_are_of_the_first_study_and_weighted_by_volume(store):
    view = store.view()
    blocks = tuple(block for block in feature_blocks(view) if block.modality == "lesion")
    found = patient_features(view, blocks, ["p002", "p000", "p001"]).matrix
    names = [name for block in blocks for name in block.columns]
    look = names.index("look:a")
    mean = (100 * 100 + 300 * 300) / 400
    np.testing.assert_allclose(found[0, look : look + 2], [mean, 1.0])
    np.testing.assert_allclose(found[1, look : look + 2], [mean, 2.0])  # dated before the other
    assert np.isnan(found[2, : len(names)]).all()
    np.testing.assert_allclose(found[0, : len(names)][:4], [2, 0, 400, 30])


def test_missing_modalities_are_nan_and_indicated(store):
    view = store.view()
    found = patient_features(view, feature_blocks(view), ["p001", "p010"])
    np.testing.assert_array_equal(found.matrix[:, -4:], [[0, 0, 1, 0], [1, 0, 0, 0]])
    assert found.present.tolist() == [[False, False, True, False], [True, False, False, False]]


def test_categories_become_zero_and_one(store):
    view = store.view()
    block = next(block for block in feature_blocks(view) if block.modality == "clinical")
    found = patient_features(view, (block,), ["p002", "p003", "p001"]).matrix
    sexes = [block.columns.index("sex=F"), block.columns.index("sex=M")]
    np.testing.assert_array_equal(found[:, sexes], [[1, 0], [0, 1], [np.nan, np.nan]])


def test_features_that_the_store_no_longer_has_are_missing(store):
    gone = (
        FeatureBlock("slide", "gone-1", ("gone:0",)),
        FeatureBlock("clinical", "covariates", ("x=y", "z")),
    )
    assert np.isnan(patient_features(store.view(), gone, ["p002"]).matrix[:, :3]).all()


def test_model_survives_its_bytes(store):
    cox = CoxModel(np.zeros(1), np.ones(1), np.array([0.5]), 0.5, 0.1, np.ones(1), np.ones(1))
    held_out = HeldOut(np.ones(2), np.array([True, False]), np.array([False, True]))
    blocks = (FeatureBlock("clinical", "covariates", ("age",)),)
    model = SurvivalModel("OS", blocks, cox, np.zeros(3), held_out)
    store.save_model("bytes", "survival/cox", model_bytes(model), {})
    back = read_model(store.view(), "bytes")
    assert (back.blocks, back.endpoint) == (blocks, "OS")
    assert cox_risk(back.cox, np.array([[2.0]])) == pytest.approx(1.0)


def test_risk_groups_of_held_out_patients_differ(store, trained):
    found = risk_groups(store.view(), "m")
    low, high = found.groups
    assert (low.name, high.name) == ("low", "high")
    assert low.patients + high.patients == PATIENTS
    assert low.events + high.events == 80
    assert low.median_days > high.median_days
    assert found.log_rank_p < 0.01
    assert low.survival.probability[0] == 1.0
    assert len(low.lower) == len(low.survival.time_days)


def test_a_risk_that_differs_by_rounding_from_a_training_patients_is_a_tie() -> None:
    training = np.array([-3.0, -2.2, 0.1, 1.7])
    places = percentiles(training, np.array([-2.2, -2.2 + 1e-15, -2.2 - 1e-15, -2.1, 9.0]))
    np.testing.assert_array_equal(places, [37.5, 37.5, 37.5, 50.0, 100.0])
