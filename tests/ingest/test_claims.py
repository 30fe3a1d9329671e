"""Two items that name one lesion, and two cohorts of one name, do not mix or replace each other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.store.store import Store

HEADER = "lesion_id,patient_id,study_id,study_date,x_mm,y_mm,z_mm,long_axis_mm,short_axis_mm\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.create(tmp_path / "store")


def cohort(folder: Path, patient: str, lesion: str) -> Path:
    """A cohort folder of one patient with one measured lesion."""
    folder.mkdir(parents=True)
    (folder / "patients.csv").write_text(f"patient_id,age\n{patient},50\n")
    row = f"{lesion},{patient},S1,2020-01-01,1,2,3,10,5\n"
    (folder / "lesions.csv").write_text(HEADER + row)
    return folder


def bring(store: Store, folder: Path) -> IngestSummary:
    return ingest(store, [folder], IngestOptions(workers=1))


def lesions(store: Store) -> list[tuple[str, str]]:
    rows = store.view().table("lesion").select(["patient_id", "lesion_id"]).to_pylist()
    return sorted((row["patient_id"], row["lesion_id"]) for row in rows)


def test_another_cohort_of_the_same_folder_name_does_not_take_the_place_of_the_first(
    store: Store, tmp_path: Path
) -> None:
    bring(store, cohort(tmp_path / "a/cohort", "P1", "L1"))
    refused = bring(store, cohort(tmp_path / "b/cohort", "P2", "L2")).quarantined
    assert len(refused) == 2
    assert all("is in the store, from" in one.reason for one in refused)
    assert lesions(store) == [("P1", "L1")]


def test_moved_cohort_is_the_same_and_may_be_corrected(store: Store, tmp_path: Path) -> None:
    first = cohort(tmp_path / "a/cohort", "P1", "L1")
    bring(store, first)
    (tmp_path / "b").mkdir()
    moved = Path(shutil.move(first, tmp_path / "b/cohort"))
    assert bring(store, moved).unchanged == 2
    (moved / "lesions.csv").write_text(HEADER + "L9,P1,S1,2020-01-01,1,2,3,10,5\n")
    assert bring(store, moved).quarantined == ()
    assert lesions(store) == [("P1", "L9")]


def test_lesion_that_another_source_has_brought_is_refused(store: Store, tmp_path: Path) -> None:
    bring(store, cohort(tmp_path / "one", "P1", "L1"))
    (refused,) = bring(store, cohort(tmp_path / "two", "P2", "L1")).quarantined
    assert refused.path.endswith("two/lesions.csv")
    assert refused.reason == "lesion_id 'L1' is in the store, from table:one/lesions.csv"
    assert lesions(store) == [("P1", "L1")]
    assert store.check().problems == ()
    assert list(store.staging().iterdir()) == []
