"""Diagnosis by similar patients, over a real store."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.query.diagnosis import diagnose
from tumorbase.query.icd10cm import category_title
from tumorbase.store.commit import CommitContent
from tumorbase.store.errors import NotEnoughData, NotFound
from tumorbase.store.schema import METADATA
from tumorbase.store.store import Store


def rows(table: str, records: list[dict]) -> pa.Table:
    """Rows of a metadata table, null where a record has no such column."""
    full = [{name: record.get(name) for name in METADATA[table].names} for record in records]
    return pa.Table.from_pylist(full, schema=METADATA[table])


@pytest.fixture
def store(tmp_path):
    """Two clusters of covariates: ten lungs (a second code each other one) and five kidneys.

    `stranger` has no covariate, `new` lies among the lungs and is diagnosed with something else.
    """
    rng = np.random.default_rng(0)
    lungs = [f"lung{index}" for index in range(10)]
    kidneys = [f"kidney{index}" for index in range(5)]
    centre = {**dict.fromkeys([*lungs, "new"], (1.0, 5.0)), **dict.fromkeys(kidneys, (9.0, -5.0))}
    facts = [
        {"patient_id": patient, "name": name, "number": value + rng.normal(0, 0.2)}
        for patient, values in centre.items()
        for name, value in zip(("a", "b"), values, strict=True)
    ]
    diagnoses = [{"patient_id": patient, "icd10cm": "C34.1"} for patient in lungs]
    diagnoses += [{"patient_id": patient, "icd10cm": "C77.1"} for patient in lungs[::2]]
    diagnoses += [{"patient_id": patient, "icd10cm": "C64.2"} for patient in kidneys]
    diagnoses += [{"patient_id": "new", "icd10cm": "C99.9"}]
    tables = {
        "patient": rows("patient", [{"patient_id": each} for each in [*centre, "stranger"]]),
        "fact": rows("fact", facts),
        "diagnosis": rows("diagnosis", diagnoses),
    }
    with Store.create(tmp_path / "store") as store:
        store.commit(CommitContent("k", "test", "k", "1", "run", tables))
        yield store


def test_codes_of_the_nearest_come_first_with_their_titles(store):
    found = diagnose(store.view(), "new")
    first = found.diagnoses[0]
    assert (first.icd10cm, first.name) == ("C34.1", "Malignant neoplasm of bronchus and lung")
    assert all(patient.startswith("lung") for patient in first.supporting_patients)
    shares = [each.probability for each in found.diagnoses]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)


def test_patients_own_codes_are_not_used(store):
    assert "C99.9" not in {each.icd10cm for each in diagnose(store.view(), "new").diagnoses}


def test_a_voter_shares_its_vote_among_its_codes(store):
    """Half of the lungs have two codes: C34.1 has about 7.5 votes of 10 lungs, C77.1 2.5."""
    by_code = {each.icd10cm: each.probability for each in diagnose(store.view(), "new").diagnoses}
    assert by_code["C34.1"] / by_code["C77.1"] == pytest.approx(3, rel=0.1)


def test_receipt_tells_the_leave_one_out_hit_rate(store):
    receipt = diagnose(store.view(), "new").receipt
    # All but `new`, whose code nobody else has.
    assert receipt.notes == ("leave-one-out over 16 diagnosed patients: hit@1 0.938, hit@5 0.938",)
    assert receipt.commit == store.last_commit()


def test_unknown_patient_is_not_found(store):
    with pytest.raises(NotFound, match="nobody"):
        diagnose(store.view(), "nobody")


def test_patient_without_diagnosed_neighbours_is_refused(store):
    with pytest.raises(NotEnoughData, match="stranger"):
        diagnose(store.view(), "stranger")


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("C7A.021", "Malignant neuroendocrine tumors"),
        ("d05", "Carcinoma in situ of breast"),
        ("R91.1", ""),
        ("", ""),
    ],
)
def test_titles_are_those_of_the_category(code, title):
    assert category_title(code) == title
