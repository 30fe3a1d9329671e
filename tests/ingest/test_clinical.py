"""Clinical tables of a cohort folder: rows that hold up come in, others are named with a reason."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.readers import reader_of
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA


def read(tmp_path: Path, kind: str, text: str, known: set[str] | None = None) -> ItemRows:
    """The rows that a reader makes of a table with this text."""
    path = tmp_path / "table.csv"
    path.write_text(text)
    context = Context(tmp_path, known_patients=None if known is None else frozenset(known))
    rows = reader_of(kind)(Item(kind, "table:x", str(path), (str(path),)), context)
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    return rows


def reasons(rows: ItemRows) -> list[str]:
    return [found.reason for found in rows.rejected]


def test_covariates_become_facts_numbers_where_the_whole_column_is(tmp_path) -> None:
    rows = read(
        tmp_path,
        "patients_table",
        "patient_id,age,stage,weight\nP1,63,II,\nP2,,3,70.5\nP3,NA,,NA\n",
    )
    facts = [
        (fact["patient_id"], fact["name"], fact["number"], fact["text"])
        for fact in rows.tables["fact"].to_pylist()
    ]
    assert facts == [
        ("P1", "age", 63.0, None),
        ("P1", "stage", None, "II"),
        ("P2", "stage", None, "3"),
        ("P2", "weight", 70.5, None),
    ]
    assert rows.tables["patient"]["patient_id"].to_pylist() == ["P1", "P2", "P3"]
    assert reasons(rows) == []


def test_nan_among_numbers_rejects_the_row_and_all_its_facts(tmp_path) -> None:
    rows = read(tmp_path, "patients_table", "patient_id,sex,age\nP1,F,63\nP2,M,NaN\nP3,M,inf\n")
    assert reasons(rows) == [
        "line 3: age must be a finite number, got 'NaN'",
        "line 4: age must be a finite number, got 'inf'",
    ]
    assert set(rows.tables["fact"]["patient_id"].to_pylist()) == {"P1"}
    assert rows.tables["patient"]["patient_id"].to_pylist() == ["P1"]


@pytest.mark.parametrize("second", ["P1,63", "P1,64"])
def test_patient_named_twice_keeps_the_first_row(tmp_path, second: str) -> None:
    rows = read(tmp_path, "patients_table", f"patient_id,age\nP1,63\n{second}\n")
    assert reasons(rows) == ["line 3: duplicate patient, first in line 2"]
    assert rows.tables["fact"]["number"].to_pylist() == [63.0]


def test_facts_carry_the_times_that_their_row_states(tmp_path) -> None:
    rows = read(
        tmp_path,
        "patients_table",
        "patient_id,age,event_time,known_at\nP1,63,20200102,2020-03-04\n",
    )
    (fact,) = rows.tables["fact"].to_pylist()
    assert fact["event_time"] == datetime(2020, 1, 2)
    assert fact["known_at"] == datetime(2020, 3, 4)


def test_covariate_that_is_a_path_out_of_the_folder_is_rejected(tmp_path) -> None:
    rows = read(tmp_path, "patients_table", "patient_id,scan\nP1,ct/a.nii\nP2,../../etc/passwd\n")
    assert reasons(rows) == ["line 3: scan leaves its folder with '..', got '../../etc/passwd'"]


def test_outcomes_that_hold_up_come_in(tmp_path) -> None:
    rows = read(
        tmp_path,
        "outcomes_table",
        "patient_id,endpoint,time_days,event,known_at\nP1,OS,100.5,1,\nP1,PFS,0,0,2020-01-02\n",
    )
    assert rows.tables["outcome"].to_pylist() == [
        {
            "patient_id": "P1",
            "endpoint": "OS",
            "time_days": 100.5,
            "is_event": True,
            "event_time": None,
            "known_at": None,
        },
        {
            "patient_id": "P1",
            "endpoint": "PFS",
            "time_days": 0.0,
            "is_event": False,
            "event_time": None,
            "known_at": datetime(2020, 1, 2),
        },
    ]
    assert rows.tables["patient"]["patient_id"].to_pylist() == ["P1"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("P1,PFS,1,2", "line 3: event must be 0 or 1, got '2'"),
        ("P1,PFS,1,", "line 3: event must be 0 or 1, got ''"),
        ("P1,PFS,-1,1", "line 3: time_days must be a finite number of at least 0, got '-1'"),
        ("P1,PFS,nan,1", "line 3: time_days must be a finite number of at least 0, got 'nan'"),
        ("P1,PFS,inf,1", "line 3: time_days must be a finite number of at least 0, got 'inf'"),
        ("P1,PFS,,1", "line 3: time_days must be a finite number of at least 0, got ''"),
        ("P9,PFS,1,1", "line 3: patient_id 'P9' is not in patients.csv"),
        (",PFS,1,1", "line 3: patient_id is empty"),
        ("P1,,1,1", "line 3: endpoint is empty"),
        ("P1,OS,1,1", "line 3: duplicate outcome of this patient and endpoint, first in line 2"),
        ("P1,PFS,1", "line 3: expected 4 cells, got 3"),
    ],
)
def test_bad_outcome_is_rejected_and_the_others_stay(tmp_path, row: str, reason: str) -> None:
    text = f"patient_id,endpoint,time_days,event\nP1,OS,1,1\n{row}\nP2,OS,2,0\n"
    rows = read(tmp_path, "outcomes_table", text, known={"P1", "P2"})
    assert reasons(rows) == [reason]
    assert rows.tables["outcome"]["patient_id"].to_pylist() == ["P1", "P2"]


def test_any_patient_may_appear_where_none_are_known(tmp_path) -> None:
    text = "patient_id,endpoint,time_days,event\nP9,OS,1,1\n"
    assert reasons(read(tmp_path, "outcomes_table", text)) == []


def test_studies_are_dated_once(tmp_path) -> None:
    rows = read(
        tmp_path,
        "studies_table",
        "patient_id,study_id,study_date\nP1,S1,2020-01-02\nP1,S2,\nP1,S1,2020-02-02\nP1,S3,2020-13-1\n",
    )
    assert reasons(rows) == [
        "line 4: duplicate study, first in line 2",
        "line 5: study_date must be a date as in 2021-03-14, got '2020-13-1'",
    ]
    dates = rows.tables["study"].select(["study_id", "study_date"]).to_pylist()
    assert dates == [
        {"study_id": "S1", "study_date": datetime(2020, 1, 2)},
        {"study_id": "S2", "study_date": None},
    ]


def test_icd10cm_codes_get_their_dot(tmp_path) -> None:
    rows = read(
        tmp_path,
        "diagnoses_table",
        "patient_id,icd10cm,date\nP1,c3411,2020-01-02\nP1,C34.1,\nP1,C34,\nP1,C7A.098,\n",
    )
    codes = rows.tables["diagnosis"]["icd10cm"].to_pylist()
    assert codes == ["C34.11", "C34.1", "C34", "C7A.098"]
    assert rows.tables["diagnosis"]["event_time"].to_pylist()[0] == datetime(2020, 1, 2)


@pytest.mark.parametrize("code", ["34.1", "CC4.1", "C3", "C34.", "C34.12345", "lung", ""])
def test_malformed_icd10cm_is_rejected(tmp_path, code: str) -> None:
    rows = read(tmp_path, "diagnoses_table", f"patient_id,icd10cm,date\nP1,{code},\nP1,C34,\n")
    assert len(reasons(rows)) == 1
    assert reasons(rows)[0].startswith("line 2: icd10cm")
    assert rows.tables["diagnosis"]["icd10cm"].to_pylist() == ["C34"]


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        ("patients_table", "patient_id"),
        ("outcomes_table", "time_days, event"),
        ("studies_table", "study_id, study_date"),
        ("diagnoses_table", "icd10cm, date"),
    ],
)
def test_table_without_a_fixed_column_is_refused_whole(tmp_path, kind: str, lacking: str) -> None:
    header = "age\n1\n" if kind == "patients_table" else "patient_id,endpoint\nP1,OS\n"
    with pytest.raises(BadInput, match=f"header lacks {lacking}"):
        read(tmp_path, kind, header)
