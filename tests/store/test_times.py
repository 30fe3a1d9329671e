"""When things happened and were known: what sources leave open is filled in, never too early."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from tumorbase.store.commit import CommitContent
from tumorbase.store.schema import METADATA
from tumorbase.store.store import Store

TAKEN, LATER, REPORTED = datetime(2020, 1, 1), datetime(2020, 2, 1), datetime(2020, 3, 1)


@pytest.fixture
def store(tmp_path: Path):
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


def table(name: str, **values: object) -> pa.Table:
    """One row of a metadata table, null where nothing is given."""
    schema = METADATA[name]
    return pa.table({c: pa.array([values.get(c)], schema.field(c).type) for c in schema.names})


def lesion_times(store: Store, study: dict[str, datetime], lesion: dict[str, datetime]):
    """event_time and known_at of a lesion, given the times its study and it state."""
    tables = {
        "study": table("study", patient_id="p", study_id="s", **study),
        "lesion": table("lesion", lesion_id="l", patient_id="p", study_id="s", **lesion),
    }
    store.commit(CommitContent("a", "ct", "a", "print", "run", tables))
    row = store.view().table("lesion").to_pylist()[0]
    return row["event_time"], row["known_at"]


def test_a_lesion_without_times_has_those_of_its_study(store):
    study = {"study_date": TAKEN, "known_at": REPORTED}
    assert lesion_times(store, study, {}) == (TAKEN, REPORTED)


def test_a_lesion_is_not_known_before_its_study(store):
    study = {"study_date": TAKEN, "known_at": REPORTED}
    assert lesion_times(store, study, {"event_time": TAKEN}) == (TAKEN, REPORTED)


def test_a_lesion_may_state_when_it_was_known(store):
    known = datetime(2020, 2, 1)
    study = {"study_date": TAKEN, "known_at": REPORTED}
    lesion = {"event_time": TAKEN, "known_at": known}
    assert lesion_times(store, study, lesion) == (TAKEN, known)


def test_a_dated_lesion_of_an_undated_study_is_known_since_its_date(store):
    assert lesion_times(store, {}, {"event_time": TAKEN}) == (TAKEN, TAKEN)


def put_study(store: Store, kind: str, **study: datetime) -> None:
    """An item of this kind that names the study s, with a lesion and a series of it."""
    ids = {"patient_id": "p", "study_id": "s"}
    tables = {
        "study": table("study", **ids, **study),
        "series": table("series", series_id=kind, **ids),
        "lesion": table("lesion", lesion_id=kind, **ids),
    }
    store.commit(CommitContent(kind, kind, kind, "print", "run", tables))


@pytest.mark.parametrize(
    "kinds", [("studies_table", "dicom_series"), ("dicom_series", "studies_table")]
)
@pytest.mark.parametrize("header", [datetime(2019, 1, 1), datetime(2021, 1, 1)])
@pytest.mark.parametrize("known", [{}, {"known_at": REPORTED}], ids=["", "known_at"])
def test_the_date_of_a_table_goes_before_a_headers(store, kinds, header, known):
    stated = {
        "studies_table": {"study_date": TAKEN, **known},
        "dicom_series": {"study_date": header, "known_at": header},
    }
    for kind in kinds:
        put_study(store, kind, **stated[kind])
    known_at = known.get("known_at", TAKEN)
    (study,) = store.view().table("study").to_pylist()
    assert (study["study_date"], study["known_at"]) == (TAKEN, known_at)
    for name in ("series", "lesion"):
        times = {
            (row["event_time"], row["known_at"]) for row in store.view().table(name).to_pylist()
        }
        assert times == {(TAKEN, known_at)}


def test_a_table_without_a_date_leaves_it_to_the_header(store):
    put_study(store, "studies_table")
    put_study(store, "dicom_series", study_date=TAKEN, known_at=TAKEN)
    (study,) = store.view().table("study").to_pylist()
    assert (study["study_date"], study["known_at"]) == (TAKEN, TAKEN)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # A date and a known_at of two rows are never one study's times.
        (
            {"studies_table": {"known_at": TAKEN}, "dicom_series": {"study_date": LATER}},
            (LATER, LATER),
        ),
        (
            {
                "studies_table": {"study_date": TAKEN, "known_at": REPORTED},
                "lesions_table": {"study_date": LATER},
            },
            (LATER, LATER),
        ),
        (
            {
                "studies_table": {"study_date": TAKEN},
                "dicom_series": {"study_date": LATER, "known_at": REPORTED},
            },
            (TAKEN, TAKEN),
        ),
        # Of two headers the later one; of one date, the row that says when it was known.
        (
            {
                "dicom_series": {"study_date": TAKEN, "known_at": REPORTED},
                "dicom": {"study_date": LATER},
            },
            (LATER, LATER),
        ),
        (
            {
                "studies_table": {"study_date": TAKEN, "known_at": REPORTED},
                "lesions_table": {"study_date": TAKEN},
            },
            (TAKEN, REPORTED),
        ),
    ],
    ids=["undated table", "two tables", "table and header", "two headers", "one date"],
)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
def test_a_study_has_both_times_of_one_row(store, rows, expected, order):
    for kind, stated in list(rows.items())[::order]:
        put_study(store, kind, **stated)
    (study,) = store.view().table("study").to_pylist()
    assert (study["study_date"], study["known_at"]) == expected


def test_a_study_without_a_date_is_known_since_the_first_commit_that_names_it(store):
    put_study(store, "ct_nifti")
    (first,) = store.view().table("study").to_pylist()
    put_study(store, "studies_table")
    assert store.view().table("study").to_pylist() == [first]


def test_what_states_no_time_is_known_since_its_commit(store):
    before = datetime(2026, 1, 1)
    event_time, known_at = lesion_times(store, {}, {})
    assert event_time == known_at > before
