"""Lesions followed over the studies of a real store."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.query.tracking import track_patients
from tumorbase.store.commit import CommitContent, StagedVectors
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import NotFound
from tumorbase.store.schema import METADATA
from tumorbase.store.store import Store


def rows(table: str, records: list[dict]) -> pa.Table:
    """Rows of a metadata table, null where a record has no such column."""
    full = [{name: record.get(name) for name in METADATA[table].names} for record in records]
    return pa.Table.from_pylist(full, schema=METADATA[table])


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


def put(store: Store, *lesions: dict, dates: dict[str, datetime] | None = None) -> None:
    """Commit lesions of patient p; studies are dated by `dates`, if they are."""
    studies = sorted({lesion["study_id"] for lesion in lesions})
    tables = {
        "patient": rows("patient", [{"patient_id": "p"}]),
        "study": rows(
            "study",
            [
                {"patient_id": "p", "study_id": study, "study_date": (dates or {}).get(study)}
                for study in studies
            ],
        ),
        "lesion": rows("lesion", list(lesions)),
    }
    store.commit(CommitContent("k", "test", "k", "1", "run", tables))


def lesion(study: str, name: str, x_mm: float | None, long_mm: float | None, **more) -> dict:
    """A lesion at (x, 0, 0), half as wide as long."""
    known = {"y_mm": 0.0, "z_mm": 0.0} if x_mm is not None else {}
    return {
        "lesion_id": f"{study}-{name}", "patient_id": "p", "study_id": study, "region": "liver",
        "x_mm": x_mm, "long_axis_mm": long_mm,
        "short_axis_mm": None if long_mm is None else long_mm / 2, **known, **more,
    }  # fmt: skip


def only(store: Store):
    """The tracks of the one patient."""
    (found,) = track_patients(store.view())
    return found


def lesions_of(found) -> list[list[str]]:
    """Lesion ids of each track."""
    return [[lesion.lesion_id for lesion in track.lesions] for track in found.tracks]


def test_lesions_are_followed_and_summed(store):
    put(
        store,
        lesion("s1", "a", 0, 30), lesion("s1", "b", 100, 20),
        lesion("s2", "y", 102, 12), lesion("s2", "z", 3, 20),
        lesion("s3", "a", 0, 28), lesion("s3", "b", 100, 20),
    )  # fmt: skip
    found = only(store)
    assert lesions_of(found) == [["s1-a", "s2-z", "s3-a"], ["s1-b", "s2-y", "s3-b"]]
    assert [each.sum_mm for each in found.sums] == [50, 32, 48]
    assert [each.response for each in found.sums] == ["baseline", "PR", "PD"]
    assert [each.nadir_mm for each in found.sums] == [50, 50, 32]
    assert [each.change for each in found.tracks[0].lesions] == ["new", "matched", "matched"]
    assert all(each.is_target for track in found.tracks for each in track.lesions)
    assert found.tracks[0].track_id == "p/track-001"


def test_studies_go_by_date_before_id(store):
    dates = {"s1": datetime(2021, 1, 1), "s2": datetime(2020, 1, 1)}
    put(store, lesion("s1", "a", 0, 30), lesion("s2", "a", 0, 20), dates=dates)
    found = only(store)
    assert [each.study_id for each in found.sums] == ["s2", "s1"]
    assert [each.study_date for each in found.sums] == ["2020-01-01", "2021-01-01"]
    assert found.sums[1].response == "PD"


def test_vanished_lesion_is_resolved_and_new_one_progression(store):
    put(
        store,
        lesion("s1", "a", 0, 30), lesion("s1", "b", 100, 20),
        lesion("s2", "a", 0, 30), lesion("s2", "c", -150, 9),
        lesion("s3", "a", 0, 30), lesion("s3", "c", -150, 9),
    )  # fmt: skip
    found = only(store)
    assert [track.status for track in found.tracks] == ["present", "resolved", "present"]
    assert [each.new_lesions for each in found.sums] == [0, 1, 0]
    # Still there, still new since the baseline.
    assert [each.response for each in found.sums] == ["baseline", "PD", "PD"]
    assert [each.sum_mm for each in found.sums] == [50, 30, 30]


def test_new_lesion_too_small_to_be_unequivocal_is_no_progression(store):
    put(store, lesion("s1", "a", 0, 30), lesion("s2", "a", 0, 30), lesion("s2", "b", 90, 3))
    found = only(store)
    assert (found.sums[1].response, found.sums[1].new_lesions) == ("SD", 1)


def test_lesion_that_reappears_gets_its_track_back(store):
    put(
        store,
        lesion("s1", "a", 0, 30), lesion("s1", "b", 100, 20),
        lesion("s2", "a", 6, 30),
        lesion("s3", "a", 12, 30), lesion("s3", "b", 112, 20),
    )  # fmt: skip
    found = only(store)
    assert lesions_of(found) == [["s1-a", "s2-a", "s3-a"], ["s1-b", "s3-b"]]
    assert found.tracks[1].status == "present"
    assert found.sums[2].new_lesions == 0


def test_parts_of_a_split_target_are_summed(store):
    put(
        store,
        lesion("s1", "a", 0, 40), lesion("s1", "b", 100, 20),
        lesion("s2", "l", -9, 12), lesion("s2", "r", 9, 14), lesion("s2", "b", 100, 20),
    )  # fmt: skip
    found = only(store)
    whole, _, left, right = found.tracks
    assert whole.status == "split"
    assert left.parents == right.parents == (whole.track_id,)
    assert [left.lesions[0].change, right.lesions[0].change] == ["split", "split"]
    assert found.sums[1].sum_mm == 12 + 14 + 20
    assert (found.sums[1].new_lesions, found.sums[1].response) == (0, "SD")


def test_merged_targets_count_as_one(store):
    put(
        store,
        lesion("s1", "l", -9, 12), lesion("s1", "r", 9, 14),
        lesion("s2", "whole", 0, 30),
    )  # fmt: skip
    found = only(store)
    assert [track.status for track in found.tracks] == ["merged", "merged", "present"]
    assert found.tracks[2].parents == ("p/track-001", "p/track-002")
    assert found.sums[1].sum_mm == 30


def test_nodes_count_by_short_axis_and_targets_are_two_an_organ(store):
    put(
        store,
        lesion("s1", "a", 0, 30), lesion("s1", "b", 100, 20), lesion("s1", "c", 200, 25),
        lesion("s1", "n", 300, 40, region="Lymph node"),
    )  # fmt: skip
    found = only(store)
    targets = [track.lesions[0].lesion_id for track in found.tracks if track.lesions[0].is_target]
    assert targets == ["s1-a", "s1-c", "s1-n"]
    assert found.sums[0].sum_mm == 30 + 25 + 20
    assert found.tracks[3].region == "node"


def test_type_tells_the_organ_where_the_region_does_not(store):
    primary = {"region": "primary"}
    put(
        store,
        *(lesion("s1", organ, 100 * index, 20, type=organ, **primary)
          for index, organ in enumerate(("lung", "liver", "kidney"))),
    )  # fmt: skip
    assert only(store).sums[0].sum_mm == 60


def test_series_of_one_study_are_not_counted_twice(store):
    put(
        store,
        lesion("s1", "a1", 0, 30, series_id="thin"), lesion("s1", "b1", 100, 20, series_id="thin"),
        lesion("s1", "a2", 0, 30, series_id="thick"),
    )  # fmt: skip
    found = only(store)
    assert found.sums[0].sum_mm == 50
    assert lesions_of(found) == [["s1-a1"], ["s1-b1"]]


def drawn(study: str, name: str, x_mm: float, long_mm: float, **more) -> dict:
    """A ball of a mask at (x, 0, 0)."""
    reach = {"x": (x_mm, long_mm / 2), "y": (0.0, long_mm / 2), "z": (0.0, long_mm / 2)}
    box = {f"{axis}_min_mm": middle - half for axis, (middle, half) in reach.items()}
    box |= {f"{axis}_max_mm": middle + half for axis, (middle, half) in reach.items()}
    plain = {"series_id": f"{study}-ct", "region": "primary", "volume_mm3": 99.0}
    return lesion(study, name, x_mm, long_mm, **{**box, **plain, **more})


def test_measured_and_drawn_lesions_of_a_study_are_counted_once(store):
    """Of three drawn lesions two were measured, one of them a node, and so was one not drawn."""
    put(
        store,
        drawn("s1", "mask-1", 0, 36), drawn("s1", "mask-2", 100, 22),
        drawn("s1", "mask-3", 200, 24, region="node"),
        lesion("s1", "big", 4, 40, region="liver"), lesion("s1", "lymph", 198, 20, region="primary",
                                                           short_axis_mm=16),
        lesion("s1", "lung", -100, 12, region="lung"),
        drawn("s2", "mask-1", 0, 24), drawn("s2", "mask-2", 100, 22),
        lesion("s2", "big", 4, 25, region="liver"), lesion("s2", "lymph", 198, 0, region="primary"),
    )  # fmt: skip
    found = only(store)
    assert lesions_of(found) == [
        ["s1-big", "s2-big"], ["s1-lung"], ["s1-lymph"], ["s1-mask-2", "s2-mask-2"]
    ]  # fmt: skip
    assert [track.region for track in found.tracks] == ["liver", "lung", "node", "primary"]
    assert found.sums[0].sum_mm == 40 + 12 + 16 + 22
    assert found.sums[1].sum_mm == 25 + 22


def test_lesions_on_thick_slices_are_targets_from_twice_their_thickness_on(store):
    series = [{"series_id": "s1-ct", "study_id": "s1", "patient_id": "p", "spacing_z_mm": 8.0}]
    lesions = [drawn("s1", "a", 0, 15), drawn("s1", "b", 100, 17), lesion("s1", "c", 200, 14)]
    tables = {"series": rows("series", series), "lesion": rows("lesion", lesions)}
    store.commit(CommitContent("k", "test", "k", "1", "run", tables))
    assert only(store).sums[0].sum_mm == 17


def test_lesion_of_axis_zero_is_gone(store):
    put(store, lesion("s1", "a", 0, 30), lesion("s2", "a", 0, 0))
    found = only(store)
    assert found.sums[1].response == "CR"
    assert found.tracks[0].status == "resolved"


def test_lesion_seen_but_not_measured_counts_five_mm_and_unmeasured_study_is_not_evaluable(store):
    put(
        store,
        lesion("s1", "a", 0, 30), lesion("s1", "b", 100, 20),
        lesion("s2", "a", 0, 30), lesion("s2", "b", 100, None),
        lesion("s3", "a", 0, None), lesion("s3", "b", 100, None),
    )  # fmt: skip
    found = only(store)
    assert found.sums[1].sum_mm == 35
    assert found.sums[2].response == "NE"
    assert math.isnan(found.sums[2].sum_mm)


def test_without_positions_lesions_are_matched_by_size(store):
    put(
        store,
        lesion("s1", "a", None, 40), lesion("s1", "b", None, 15),
        lesion("s2", "a", None, 16), lesion("s2", "b", None, 41),
    )  # fmt: skip
    assert lesions_of(only(store)) == [["s1-a", "s2-b"], ["s1-b", "s2-a"]]


def put_alike(store: Store, ids: list[str], lesions: list[dict]) -> None:
    """Commit lesions of which the first and last of `ids` look alike, and the two between."""
    encoder = StoredEncoder("look-1-ab", "look", "1", "lesion", 2, "hash", "{}", False)
    looks = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(looks.ravel()), 2)
    table = pa.table({"lesion_id": ids, "patient_id": ["p"] * 4, "vector": column})
    file = store.staging() / "looks.arrows"
    with pa.ipc.new_stream(str(file), table.schema) as writer:
        writer.write_table(table)
    tables = {"patient": rows("patient", [{"patient_id": "p"}]), "lesion": rows("lesion", lesions)}
    vectors = (StagedVectors(encoder, file),)
    store.commit(CommitContent("k", "test", "k", "1", "run", tables, vectors))


def test_alike_lesions_are_told_apart_by_their_vectors(store):
    ids = ["s1-a", "s1-b", "s2-a", "s2-b"]
    put_alike(store, ids, [lesion(name[:2], name[3:], None, 20.0) for name in ids])
    found = only(store)
    assert lesions_of(found) == [["s1-a", "s2-b"], ["s1-b", "s2-a"]]
    assert (found.receipt.encoder, found.receipt.weights_sha256) == ("look-1-ab", "hash")


def test_a_measured_lesion_looks_as_it_was_drawn(store):
    """Half-way between both earlier ones, the later lesions are told apart by looks alone."""
    ids = ["s1-left", "s1-right", "s2-low", "s2-high"]
    places = [(-10, 0), (10, 0), (0, -10), (0, 10)]
    lesions = [drawn(name[:2], name[3:], x, 12.0) for name, (x, _) in zip(ids, places, strict=True)]
    for each, (_, y) in zip(lesions, places, strict=True):
        each.update({"y_mm": y, "y_min_mm": y - 6.0, "y_max_mm": y + 6.0})
    by_hand = [lesion("s2", "1", 0, 12.0, y_mm=-10.0), lesion("s2", "2", 0, 12.0, y_mm=10.0)]
    put_alike(store, ids, [*lesions, *by_hand])
    assert lesions_of(only(store)) == [["s1-left", "s2-2"], ["s1-right", "s2-1"]]


def test_patients_come_in_the_order_asked_and_unknown_ones_are_refused(store):
    tables = {
        "patient": rows("patient", [{"patient_id": "q"}, {"patient_id": "p"}, {"patient_id": "r"}]),
        "lesion": rows("lesion", [
            {**lesion("s1", "a", 0, 30), "patient_id": patient, "lesion_id": patient}
            for patient in "pq"]),
    }  # fmt: skip
    store.commit(CommitContent("k", "test", "k", "1", "run", tables))
    view = store.view()
    assert [each.patient_id for each in track_patients(view, ["r", "q"])] == ["r", "q"]
    assert [each.patient_id for each in track_patients(view)] == ["p", "q"]
    assert track_patients(view, ["r"])[0].sums == ()
    with pytest.raises(NotFound, match="nobody"):
        track_patients(view, ["nobody"])


def test_receipt_names_the_commit(store):
    put(store, lesion("s1", "a", 0, 30))
    assert only(store).receipt.commit == store.last_commit()
