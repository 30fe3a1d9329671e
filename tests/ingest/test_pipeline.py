"""A run of ingest: what it commits, what it leaves, what it refuses, and what it writes down."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import duckdb
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from golden import save_weights
from tumorbase.ingest import chosen_encoders, pipeline
from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, Progress, ingest
from tumorbase.models import lesion_measurement
from tumorbase.store.errors import InvalidRequest, MissingWeights, WorkerDied
from tumorbase.store.schema import METADATA
from tumorbase.store.store import METADATA_FILE, Store

OPTIONS = IngestOptions(workers=1, mpp=0.5)
OLD_MEASUREMENT = lesion_measurement.LesionMeasurement


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


@pytest.fixture
def tables(small_cohort: Path) -> Path:
    """The small cohort without its images: quick."""
    shutil.rmtree(small_cohort / "radiology")
    shutil.rmtree(small_cohort / "pathology")
    return small_cohort


def run(store: Store, cohort: Path, options: IngestOptions = OPTIONS) -> IngestSummary:
    """One run over a cohort."""
    return ingest(store, [cohort], options)


def rows(store: Store, table: str, commit: int | None = None) -> list[dict]:
    """The visible rows of a table."""
    return store.view(commit).table(table).to_pylist()


def append(file: Path, line: str) -> None:
    """One more line."""
    file.write_text(file.read_text() + line + "\n")


def test_a_cohort_is_counted_timed_and_written_down(store, small_cohort):
    seen: list[Progress] = []
    summary = ingest(store, [small_cohort], OPTIONS, seen.append)
    assert summary.quarantined == ()
    nuclei = summary.added["nuclei"]
    assert 60 < nuclei < 240
    assert summary.added == {
        "patients": 4, "studies": 7, "series": 6, "lesions": 15, "slides": 2, "patches": 8,
        "nuclei": nuclei, "profiles": 4,
    }  # fmt: skip
    assert {"read", "resample", "encode", "commit"} <= set(summary.timings)
    assert 0 < sum(summary.timings.values()) <= summary.seconds
    assert [progress.done for progress in seen] == list(range(1, 15))
    assert {(progress.total, progress.state) for progress in seen} == {(14, "committed")}
    store.close()
    with duckdb.connect(str(store.path / METADATA_FILE), read_only=True) as connection:
        ((run_id, recorded),) = connection.execute("SELECT run_id, summary FROM runs").fetchall()
    assert run_id == summary.run_id
    assert json.loads(recorded)["added"] == summary.added
    assert json.loads(recorded)["timings"] == summary.timings


def test_a_second_run_changes_nothing(store, small_cohort):
    run(store, small_cohort)
    commit = store.last_commit()
    again = run(store, small_cohort)
    assert again.unchanged == 14
    assert set(again.added.values()) == {0}
    assert store.last_commit() == commit


def test_a_moved_cohort_is_the_same(store, tables, tmp_path):
    run(store, tables)
    (tmp_path / "elsewhere").mkdir()
    moved = tables.rename(tmp_path / "elsewhere" / tables.name)
    assert run(store, moved).unchanged == 6


def test_a_changed_file_takes_the_place_of_the_old_one_and_the_old_is_still_there(store, tables):
    run(store, tables)
    before = store.last_commit()
    file = tables / "lesions.csv"
    file.write_text(file.read_text().replace("PAT3-L0", "PAT3-NEW"))
    summary = run(store, tables)
    assert summary.unchanged == 5
    assert store.last_commit() == before + 1
    now, then = ({row["lesion_id"] for row in rows(store, "lesion", c)} for c in (None, before))
    assert now == {"PAT3-NEW", "PAT3-L1", "PAT3-L2"}
    assert then == {"PAT3-L0", "PAT3-L1", "PAT3-L2"}
    encoder = store.view().encoder("lesion", "measurement")
    assert set(store.view().vectors(encoder).rows["lesion_id"].to_pylist()) == now
    assert set(store.view(before).vectors(encoder).rows["lesion_id"].to_pylist()) == then


def test_two_items_of_one_key_are_refused_by_name(store, small_cohort, tmp_path):
    slides = small_cohort / "pathology" / "slides"
    shutil.rmtree(small_cohort / "radiology")
    shutil.copy(slides / "PAT0.png", slides / "PAT0.tif")
    summary = run(store, small_cohort)
    (refused,) = summary.quarantined
    assert refused.path.endswith("PAT0.tif")
    assert "is the same slide as" in refused.reason
    assert "PAT0.png" in refused.reason
    assert summary.added["slides"] == 2


def test_one_cohort_named_twice_is_ingested_once(store, tables):
    summary = ingest(store, [tables, tables], OPTIONS)
    assert len(summary.quarantined) == 6
    assert summary.added["patients"] == 4
    assert len(rows(store, "outcome")) == 4


def test_a_cancelled_run_is_resumed(store, small_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "COMMIT_AFTER_SECONDS", 0.0)  # each item, however fast it is read
    done: list[Progress] = []
    ended = ingest(store, [small_cohort], OPTIONS, done.append, lambda: store.last_commit() > 0)
    assert ended.added["patients"] > 0
    committed = store.last_commit()
    assert committed < 14
    resumed = run(store, small_cohort)
    assert resumed.unchanged == committed
    with Store.create(tmp_path / "at_once") as other:
        run(other, small_cohort)
        assert comparable(store) == comparable(other)


def test_a_worker_that_is_killed_ends_the_run_and_the_next_goes_on(
    store, small_cohort, monkeypatch
):
    monkeypatch.setattr(pipeline, "COMMIT_AFTER_SECONDS", 0.0)

    def kill_workers(_: Progress) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # killed already
                if "spawn_main" in " ".join(child.cmdline()):  # and not the resource tracker
                    child.kill()

    with pytest.raises(WorkerDied, match="a worker process died"):
        ingest(store, [small_cohort], IngestOptions(workers=2, mpp=0.5), kill_workers)
    committed = store.last_commit()
    assert 0 < committed < 14
    assert run(store, small_cohort).unchanged == committed
    assert store.check().is_clean


def comparable(store: Store) -> dict[str, list]:
    """Rows without times of commits, and vectors by encoder."""
    view = store.view()
    found = {}
    for name in METADATA:
        table = view.table(name)
        kept = [c for c in table.column_names if c not in ("event_time", "known_at")]
        found[name] = sorted(map(str, table.select(kept).to_pylist()))
    for encoder in view.encoders():
        vectors = view.vectors(encoder)
        raw = [vector.tobytes() for vector in vectors.raw]
        found[encoder.encoder_id] = sorted(
            zip(map(str, vectors.rows.to_pylist()), raw, strict=True)
        )
    return found


def test_two_workers_make_the_store_that_one_makes(store, small_cohort, tmp_path):
    run(store, small_cohort)
    with Store.create(tmp_path / "two") as other:
        run(other, small_cohort, replace(OPTIONS, workers=2))
        assert comparable(store) == comparable(other)
        kinds = [other._connection.execute("SELECT item_key FROM main.commits").fetchall()]
        assert kinds == [store._connection.execute("SELECT item_key FROM main.commits").fetchall()]


def test_refused_rows_are_told_each_time_and_the_others_are_not_committed_again(store, tables):
    append(tables / "outcomes.csv", "PAT9,OS,10,1")
    first = run(store, tables)
    commit = store.last_commit()
    again = run(store, tables)
    assert first.quarantined == again.quarantined
    (refused,) = again.quarantined
    assert "'PAT9' is not in patients.csv" in refused.reason
    assert again.unchanged == 6
    assert store.last_commit() == commit
    assert len(rows(store, "outcome")) == 4


def test_a_patient_that_becomes_known_brings_the_outcome_in(store, tables):
    append(tables / "outcomes.csv", "PAT9,OS,10,1")
    run(store, tables)
    append(tables / "patients.csv", "PAT9,44,F")
    summary = run(store, tables)
    assert summary.quarantined == ()
    assert {row["patient_id"] for row in rows(store, "outcome")} >= {"PAT9"}
    assert len(rows(store, "outcome")) == 5
    assert run(store, tables).unchanged == 6


def test_a_slide_goes_to_the_patient_that_becomes_known(store, small_cohort):
    shutil.rmtree(small_cohort / "radiology")
    slides = small_cohort / "pathology" / "slides"
    (slides / "PAT0.png").rename(slides / "PAT9-01.png")
    run(store, small_cohort)
    before = {row["slide_id"]: row["patient_id"] for row in rows(store, "slide")}
    append(small_cohort / "patients.csv", "PAT9-01,44,F")
    run(store, small_cohort)
    after = {row["slide_id"]: row["patient_id"] for row in rows(store, "slide")}
    assert after["PAT9-01"] == "PAT9-01"
    assert after["PAT1"] == before["PAT1"] == "PAT1"


def test_only_the_encoder_asked_for_encodes_its_level(store, small_cohort):
    shutil.rmtree(small_cohort / "pathology")
    run(store, small_cohort, replace(OPTIONS, encoders=("measurement",)))
    names = {encoder.name for encoder in store.view().encoders("lesion")}
    assert names == {"measurement"}
    assert len(store.view().vectors(store.view().encoder("lesion", "measurement")).raw) == 15


@pytest.fixture
def newer_measurement(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The encoder "measurement" in a version to come."""
    build = lesion_measurement.LesionMeasurement

    def build_newer() -> lesion_measurement.LesionMeasurement:
        encoder = build()
        encoder.spec = replace(encoder.spec, version="99")
        return encoder

    monkeypatch.setattr(lesion_measurement, "LesionMeasurement", build_newer)
    chosen_encoders._built.cache_clear()
    yield
    chosen_encoders._built.cache_clear()


def test_a_new_version_of_an_encoder_encodes_beside_the_old(store, tables, newer_measurement):
    with pytest.MonkeyPatch.context() as before:
        before.setattr(lesion_measurement, "LesionMeasurement", OLD_MEASUREMENT)
        run(store, tables)
        chosen_encoders._built.cache_clear()
    old = store.view().encoder("lesion", "measurement")
    lesions = rows(store, "lesion")
    summary = run(store, tables)
    assert (summary.committed, summary.unchanged) == (1, 5)  # lesions.csv alone
    view = store.view()
    new = view.encoder("lesion", "measurement")
    assert new.version == "99"
    assert {e.encoder_id for e in view.encoders("lesion")} == {new.encoder_id, old.encoder_id}
    assert len(view.vectors(new).raw) == len(view.vectors(old).raw) == 3
    assert rows(store, "lesion") == lesions
    assert store.check().is_clean
    assert run(store, tables).unchanged == 6


def test_what_was_added_to_an_item_goes_with_its_content(store, tables, newer_measurement):
    with pytest.MonkeyPatch.context() as before:
        before.setattr(lesion_measurement, "LesionMeasurement", OLD_MEASUREMENT)
        run(store, tables)
        chosen_encoders._built.cache_clear()
    old = store.view().encoder("lesion", "measurement")
    run(store, tables)
    append(tables / "lesions.csv", "PAT3-L9,PAT3,S9,2020-02-02,1,2,3,30,20")
    assert run(store, tables).outdated == {old.encoder_id: 1}
    view = store.view()
    assert [e.version for e in view.encoders("lesion")] == ["99"]
    assert len(view.vectors(view.encoder("lesion", "measurement")).raw) == 4
    assert len(store.view(store.last_commit() - 1).vectors(old).raw) == 3


def test_what_was_added_is_withdrawn_with_a_damaged_item_and_both_come_back(
    store, tables, newer_measurement
):
    with pytest.MonkeyPatch.context() as before:
        before.setattr(lesion_measurement, "LesionMeasurement", OLD_MEASUREMENT)
        run(store, tables)
        chosen_encoders._built.cache_clear()
    old = store.view().encoder("lesion", "measurement")
    lesions = rows(store, "lesion")
    run(store, tables)
    damaged = {row["commit_id"] for row in commits_of(store, "table:small_cohort/lesions.csv")}
    for commit in damaged:
        store._tables.delete_commit("lesion", old.encoder_id, commit)
    assert store.check(repair=True).repaired > 0
    assert rows(store, "lesion") == []
    assert store.view().encoders("lesion") == []
    run(store, tables)
    assert rows(store, "lesion") == lesions
    assert [e.version for e in store.view().encoders("lesion")] == ["99"]
    assert run(store, tables).committed == 0
    assert store.check().is_clean


def test_patches_of_another_size_stand_beside_the_first(store, small_cohort):
    shutil.rmtree(small_cohort / "radiology")
    run(store, small_cohort)
    (fine,) = store.view().encoders("patch")
    coarser = replace(OPTIONS, patch_mpp=1.0)
    summary = run(store, small_cohort, coarser)
    assert (summary.committed, summary.outdated) == (len(rows(store, "slide")), {})
    view = store.view()
    (coarse,) = (e for e in view.encoders("patch") if e.encoder_id != fine.encoder_id)
    assert coarse.name == fine.name
    sides = [set(view.vectors(e).rows["side_level0_px"].to_pylist()) for e in (fine, coarse)]
    assert sides == [{256}, {512}]
    assert len(view.encoders("slide")) == 2
    assert run(store, small_cohort, coarser).committed == run(store, small_cohort).committed == 0


def test_a_setting_of_scans_changes_no_slide(store, small_cohort):
    run(store, small_cohort)
    summary = run(store, small_cohort, replace(OPTIONS, min_lesion_mm3=1.0))
    assert summary.committed == len(rows(store, "series"))


def commits_of(store: Store, item_key: str) -> list[dict]:
    """The visible commits of an item itself."""
    query = "SELECT commit_id FROM main.commits WHERE item_key = $key AND superseded_by IS NULL"
    return store.view().sql(query, key=item_key).to_pylist()


def test_a_table_with_a_bad_row_keeps_the_vectors_of_other_encoders(store, tables):
    append(tables / "lesions.csv", "PAT3-L9,PAT3,S9,2020-02-02,nan,2,3,30,20")
    assert len(run(store, tables).quarantined) == 1
    before = len(store.view().vectors(store.view().encoder("lesion", "measurement")).raw)
    summary = run(store, tables, replace(OPTIONS, encoders=("radiomics",)))
    assert len(summary.quarantined) == 1
    view = store.view()
    assert len(view.vectors(view.encoder("lesion", "measurement")).raw) == before == 3


def test_runs_of_one_store_wait_for_each_other(store, tables):
    running, most = 0, 0

    def count(_: Progress) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(ingest, store, [tables], OPTIONS, count) for _ in range(2)]
        summaries = [each.result() for each in runs]
    assert most == 1
    assert sorted(summary.committed for summary in summaries) == [0, 6]
    assert store.check().is_clean


def test_a_run_that_cannot_begin_leaves_no_staging_folder(store, tables):
    with pytest.raises(InvalidRequest, match="timm knows no model"):
        run(store, tables, replace(OPTIONS, encoders=("timm-nope",)))
    with pytest.raises(MissingWeights, match="weights of timm-resnet10t not found"):
        run(store, tables, replace(OPTIONS, encoders=("timm-resnet10t",)))
    staging = store.path / "staging"
    assert not staging.exists() or list(staging.iterdir()) == []


def test_weights_that_do_not_fit_end_the_run_with_their_name(store, small_cohort, tmp_path):
    shutil.rmtree(small_cohort / "radiology")
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "timm-resnet10t.safetensors")
    options = replace(OPTIONS, encoders=("timm-resnet10t",), weights=str(tmp_path))
    with pytest.raises(MissingWeights, match=r"timm-resnet10t\.safetensors does not fit"):
        run(store, small_cohort, options)


def test_weights_replaced_under_the_same_name_are_another_encoder(store, small_cohort, tmp_path):
    shutil.rmtree(small_cohort / "radiology")
    second = small_cohort / "pathology" / "slides" / "PAT1.png"
    hidden = second.rename(tmp_path / "PAT1.png")
    options = replace(OPTIONS, encoders=("timm-resnet10t",), weights=str(tmp_path))
    path = save_weights("timm-resnet10t", tmp_path)
    run(store, small_cohort, options)
    (first,) = store.view().encoders("patch")
    save_file({k: 2 * v for k, v in load_file(path).items()}, path)
    hidden.rename(second)
    run(store, small_cohort, options)
    view = store.view()
    rows_of = {e.encoder_id: len(view.vectors(e).raw) for e in view.encoders("patch")}
    whole = max(rows_of.values())
    assert len(rows_of) == 2
    assert rows_of[first.encoder_id] * 2 == whole  # one slide by the first, both by the second
    assert view.encoder("patch", "timm-resnet10t").encoder_id != first.encoder_id
    assert store.counts(view)["patch"] == whole


def test_patches_are_counted_once_whoever_encoded_them(store, small_cohort, tmp_path):
    shutil.rmtree(small_cohort / "radiology")
    second = small_cohort / "pathology" / "slides" / "PAT1.png"
    hidden = second.rename(tmp_path / "PAT1.png")
    one = run(store, small_cohort).added["patches"]
    hidden.rename(second)
    save_weights("timm-resnet10t", tmp_path)
    options = replace(OPTIONS, encoders=("timm-resnet10t",), weights=str(tmp_path))
    assert run(store, small_cohort, options).added["patches"] == one
    assert run(store, small_cohort).added["patches"] == 0
    assert store.counts(store.view())["patch"] == 2 * one


def test_an_encoder_named_later_is_added_and_nothing_is_encoded_twice(store, small_cohort):
    run(store, small_cohort, replace(OPTIONS, encoders=("measurement",)))
    summary = run(store, small_cohort, replace(OPTIONS, encoders=("radiomics",)))
    assert summary.committed == 7  # six CTs; lesions.csv has no pixels, but is asked once
    view = store.view()
    names = {e.name: len(view.vectors(e).raw) for e in view.encoders("lesion")}
    assert names == {"measurement": 15, "radiomics": 12}
    again = run(store, small_cohort, replace(OPTIONS, encoders=("radiomics", "measurement")))
    assert again.committed == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoders": ("no-such",)}, "'no-such'"),
        ({"source": "no-such"}, "source must be one of cohort, dicom"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"mpp": -1.0}, "mpp must be in"),
        ({"patch_mpp": 0.0}, "patch mpp must be in"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_nothing_is_begun(store, tables, change, said):
    with pytest.raises(InvalidRequest, match=said):
        run(store, tables, replace(OPTIONS, **change))
    assert store.last_commit() == 0
    staging = store.path / "staging"
    assert not staging.exists() or list(staging.iterdir()) == []


def test_a_path_that_is_not_there_is_refused(store, tables):
    with pytest.raises(InvalidRequest, match="no such file"):
        run(store, tables / "nowhere")


def test_a_file_of_no_known_kind_is_quarantined(store, tmp_path):
    (tmp_path / "letter.docx").write_text("a letter")
    (refused,) = run(store, tmp_path / "letter.docx").quarantined
    assert "cannot tell what this is" in refused.reason


def test_nothing_is_left_in_the_staging_folder(store, small_cohort):
    run(store, small_cohort)
    assert list((store.path / "staging").iterdir()) == []
