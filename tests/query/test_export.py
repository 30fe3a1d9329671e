"""Exports: the columns promised, and nothing that was not known at the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import csv

from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.models.nucleus_segmentation import segment_nuclei
from tumorbase.models.nucleus_shape import FEATURES, measure_nuclei
from tumorbase.query.export import EXPORT_LEVELS, export_level
from tumorbase.server.table_file import FORMATS, write_table_file
from tumorbase.store.errors import InvalidRequest, NotFound

PROMISED = {
    "lesion": "lesion_id patient_id study_id series_id region x_mm y_mm z_mm long_axis_mm"
    " short_axis_mm volume_mm3 type",
    "patch": "patch_id slide_id patient_id x_level0_px y_level0_px mpp",
    "region": "region_id slide_id patient_id x_level0_px y_level0_px mpp tissue_patches",
    "nucleus": "nucleus_id slide_id patient_id type area area_bbox area_convex eccentricity"
    " equivalent_diameter_area euler_number extent feret_diameter_max area_filled"
    " inertia_tensor_eigvals-0 inertia_tensor_eigvals-1 axis_major_length axis_minor_length"
    " orientation perimeter solidity",
    "slide": "slide_id patient_id",
    "profile": "profile_id patient_id",
    "series": "series_id study_id patient_id modality",
    "case": "case_id study_id patient_id study_date",
    "patient": "patient_id",
}


def day(number: int) -> datetime:
    """A day of January 2020."""
    return datetime(2020, 1, number)


def exported(store, level: str, as_of: datetime | None = None) -> pa.Table:
    return export_level(store.view(), level, as_of).read_all()


def fact(value: float, happened: int, known: int, name: str = "stage") -> dict:
    return {
        "patient_id": "P",
        "name": name,
        "number": value,
        "event_time": day(happened),
        "known_at": day(known),
    }


@pytest.fixture
def known(store, put):
    """Makes a store of facts of patient P; what is P's `stage` at each day?"""

    def stages(facts: list[dict], days: list[int]) -> list[float | None]:
        put(store, "facts", {"patient": [{"patient_id": "P"}], "fact": facts})
        values = []
        for each in days:
            table = exported(store, "patient", day(each))
            has_it = table.num_rows and "stage" in table.column_names
            values.append(table["stage"][0].as_py() if has_it else None)
        return values

    return stages


def test_a_fact_known_later_than_it_happened_is_absent_before(known):
    assert known([fact(2, happened=3, known=9)], [2, 3, 8, 9, 10]) == [None, None, None, 2, 2]


def test_a_fact_known_before_it_happens_is_absent_until_then(known):
    assert known([fact(2, happened=9, known=3)], [3, 8, 9]) == [None, None, 2]


def test_a_correction_holds_from_when_it_is_known(known):
    facts = [fact(1, happened=2, known=2), fact(3, happened=2, known=6)]
    assert known(facts, [1, 2, 5, 6]) == [None, 1, 1, 3]


def test_of_two_facts_the_later_one_holds_though_the_earlier_is_learned_last(known):
    facts = [fact(1, happened=2, known=8), fact(3, happened=5, known=5)]
    assert known(facts, [5, 7, 8, 9]) == [3, 3, 3, 3]


def test_a_later_fact_not_yet_known_leaves_the_earlier_one(known):
    facts = [fact(1, happened=2, known=2), fact(3, happened=4, known=8)]
    assert known(facts, [3, 4, 7, 8]) == [1, 1, 1, 3]


def test_ties_have_one_answer(store, put):
    for order in (1, -1):
        facts = [fact(4, 2, 2), fact(3, 2, 2)][::order]
        put(store, "facts", {"patient": [{"patient_id": "P"}], "fact": facts})
        assert exported(store, "patient", day(3))["stage"].to_pylist() == [3]


def test_undated_facts_are_known_since_their_commit_only(store, put):
    tables = {
        "patient": [{"patient_id": "P"}],
        "fact": [{"patient_id": "P", "name": "age", "number": 50.0}],
    }
    put(store, "facts", tables)
    assert exported(store, "patient")["age"].to_pylist() == [50.0]
    now = datetime.now(UTC).replace(tzinfo=None)
    assert exported(store, "patient", now - timedelta(hours=1)).num_rows == 0
    assert exported(store, "patient", now)["age"].to_pylist() == [50.0]


def test_a_patient_merely_named_is_known_since_its_commit(store, put):
    put(store, "names", {"patient": [{"patient_id": "P"}]})
    assert exported(store, "patient", day(1)).num_rows == 0
    assert exported(store, "patient", datetime(2999, 1, 1))["patient_id"].to_pylist() == ["P"]


def test_a_patient_is_known_since_the_first_that_was(store, put):
    ids = [{"patient_id": patient} for patient in "ABC"]
    study = {"study_id": "S", "study_date": day(4)}
    tables = {
        "patient": ids,
        "fact": [{**fact(1, 2, 2), "patient_id": "A"}],
        "study": [{"patient_id": "B", **study}, {"patient_id": "C", **study, "known_at": day(6)}],
    }
    put(store, "all", tables)
    known = [exported(store, "patient", day(n))["patient_id"].to_pylist() for n in (1, 2, 4, 6)]
    assert known == [[], ["A"], ["A", "B"], ["A", "B", "C"]]


def test_outcomes_are_those_known_then(store, put):
    def outcome(days: float, is_event: bool, known: int) -> dict:
        times = {"event_time": day(known), "known_at": day(known)}
        return {
            "patient_id": "P",
            "endpoint": "OS",
            "time_days": days,
            "is_event": is_event,
        } | times

    rows = [outcome(100, False, 3), outcome(300, True, 7)]
    put(store, "all", {"patient": [{"patient_id": "P"}], "outcome": rows})
    assert "OS.event" not in exported(store, "patient", day(2)).column_names
    for each, values in ((3, (100, False)), (6, (100, False)), (7, (300, True))):
        table = exported(store, "patient", day(each))
        assert (table["OS.time_days"][0].as_py(), table["OS.event"][0].as_py()) == values


def test_a_lesion_has_the_times_of_its_study_unless_it_has_its_own(store, put):
    lesion = {"patient_id": "P", "study_id": "S"}
    tables = {
        "study": [{"patient_id": "P", "study_id": "S", "study_date": day(4)}],
        "lesion": [
            {**lesion, "lesion_id": "of-study"},
            {**lesion, "lesion_id": "read-late", "event_time": day(4), "known_at": day(8)},
            {"patient_id": "P", "study_id": "T", "lesion_id": "undated"},
        ],
    }
    put(store, "all", tables)
    ids = [exported(store, "lesion", day(n))["lesion_id"].to_pylist() for n in (3, 4, 7, 8)]
    assert ids == [[], ["of-study"], ["of-study"], ["of-study", "read-late"]]
    assert exported(store, "lesion").num_rows == 3


def test_a_time_with_a_zone_is_that_moment(store, put):
    put(store, "facts", {"patient": [{"patient_id": "P"}], "fact": [fact(1, 2, 2)]})
    west = timezone(timedelta(hours=-5))
    assert exported(store, "patient", datetime(2020, 1, 1, 18, tzinfo=west)).num_rows == 0
    assert exported(store, "patient", datetime(2020, 1, 1, 19, tzinfo=west)).num_rows == 1


@pytest.fixture
def all_levels(store, encoder, put):
    """Two patients with rows of all levels: early's are of day 2, late's are known from day 8 on.

    Their slides differ in mpp; early's has two lesions, of which one has no vector.
    """
    names = ("patient", "study", "series", "lesion", "slide", "profile")
    tables: dict[str, list[dict]] = {name: [] for name in names}
    vectors: dict[str, list[dict]] = {level: [] for level in EXPORT_LEVELS[:-1]}
    for patient, known in (("early", 2), ("late", 8)):
        own = {"patient_id": patient, "event_time": day(2), "known_at": day(known)}
        slide = own | {"slide_id": f"{patient}-slide", "mpp": known / 8}
        tables["patient"].append(own)
        study = own | {"study_id": f"{patient}-study", "study_date": day(2)}
        tables["study"].append(study)
        tables["series"].append(study | {"series_id": f"{patient}-series", "modality": "CT"})
        tables["lesion"].append(own | {"lesion_id": f"{patient}-lesion", "long_axis_mm": 12.5})
        tables["slide"].append(slide)
        tables["profile"].append(own | {"profile_id": f"{patient}-profile", "measured": [1, 2]})
        vectors["lesion"].append(tables["lesion"][-1])
        vectors["slide"].append(slide)
        vectors["series"].append(tables["series"][-1])
        vectors["case"].append(study | {"case_id": f"{patient}/{patient}-study"})
        vectors["profile"].append(tables["profile"][-1])
        vectors["patch"] += [slide | {"patch_id": f"{patient}-patch{n}"} for n in range(3)]
        vectors["region"].append(slide | {"region_id": f"{patient}-region"})
        vectors["nucleus"] += [slide | {"nucleus_id": f"{patient}-n{n}"} for n in range(3)]
    tables["lesion"].append(tables["lesion"][0] | {"lesion_id": "early-measured"})
    made = [
        (encoder("e", level, 2, level == "lesion"), rows, np.arange(2 * len(rows)).reshape(-1, 2))
        for level, rows in vectors.items()
    ]
    put(store, "all", tables, made)
    return store


@pytest.mark.parametrize("level", EXPORT_LEVELS)
def test_each_level_exports_what_was_known_then(all_levels, level):
    key = f"{level}_id"
    assert exported(all_levels, level, day(1)).num_rows == 0
    early = exported(all_levels, level, day(7))[key].to_pylist()
    assert early
    assert all(identifier.startswith("early") for identifier in early)
    everything = exported(all_levels, level, day(8))
    assert any(identifier.startswith("late") for identifier in everything[key].to_pylist())
    assert everything.equals(exported(all_levels, level))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("level", EXPORT_LEVELS)
@pytest.mark.parametrize("is_empty", [False, True])
def test_each_level_is_written_in_each_format(all_levels, tmp_path, level, file_format, is_empty):
    as_of = day(1) if is_empty else None
    table = exported(all_levels, level, as_of)
    file = tmp_path / f"out.{file_format}"
    rows = write_table_file(export_level(all_levels.view(), level, as_of), file, file_format)
    read = {"parquet": pq.read_table, "arrow": lambda f: pa.ipc.open_file(f).read_all(),
            "csv": csv.read_csv}[file_format](str(file))  # fmt: skip
    assert rows == read.num_rows == table.num_rows
    assert read.column_names == table.column_names
    assert read[f"{level}_id"].to_pylist() == table[f"{level}_id"].to_pylist()


@pytest.mark.parametrize("level", ["lesion", "patch", "slide", "profile", "series"])
def test_features_are_as_they_were_stored(all_levels, level):
    table = exported(all_levels, level)
    rows = dict(zip(table[f"{level}_id"].to_pylist(), table.to_pylist(), strict=True))
    if level == "lesion":
        assert [rows["late-lesion"][f"e.f{n}"] for n in range(2)] == [2, 3]
        assert rows["early-measured"]["e.f0"] is None
        assert table["lesion_id"].to_pylist() == sorted(rows)
    elif level == "patch":
        assert rows["late-patch2"]["embedding"] == [10, 11]
        assert [rows[f"{p}-patch0"]["mpp"] for p in ("early", "late")] == [0.25, 1.0]
    else:
        assert rows[f"late-{level}"]["embedding"] == [2, 3]


@pytest.mark.parametrize("level", EXPORT_LEVELS)
def test_an_empty_store_exports_no_rows(store, level):
    table = exported(store, level)
    assert table.num_rows == 0
    # Shape features come with their encoder.
    wanted = set(PROMISED[level].split()) - set(FEATURES)
    assert wanted <= set(table.column_names)


def test_an_unknown_level_is_refused(store):
    with pytest.raises(InvalidRequest, match="level must be one of lesion, patch"):
        export_level(store.view(), "organ")


@pytest.fixture
def tile(tmp_path) -> Path:
    """A tile of 512 x 512 pixels with 40 dark ellipses on pink, in patient T's name."""
    rows, columns = np.mgrid[:512, :512]
    pixels = np.full((512, 512, 3), (230, 190, 215), dtype=np.uint8)
    rng = np.random.default_rng(0)
    for place in range(40):
        y, x = 40 + 60 * (place // 7), 40 + 70 * (place % 7)
        a, b = rng.uniform(8, 14, 2)
        inside = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
        pixels[inside] = (80, 50, 130)
    folder = tmp_path / "pathology" / "slides"
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "T.png")
    return tmp_path


def test_ingested_levels_have_the_promised_columns(store, tile, tmp_path):
    header = "lesion_id,patient_id,study_id,study_date,x_mm,y_mm,z_mm,long_axis_mm,short_axis_mm\n"
    (tile / "lesions.csv").write_text(header + "L,T,S,2020-01-02,1,2,3,12,8\n")
    ingest(store, [tile], IngestOptions(source="cohort", workers=1, mpp=0.25))
    for level in ("lesion", "patch", "nucleus", "slide", "patient"):
        table = exported(store, level)
        assert table.num_rows > 0, level
        assert set(PROMISED[level].split()) <= set(table.column_names), level


def test_exported_shapes_are_those_of_measure_nuclei(store, shared, tmp_path):
    """Of a tile of CoNSeP: the label that a nucleus had in the tile ends its id."""
    consep = shared / "data" / "pathology" / "nuclei_consep" / "test_1_000.jpg"
    pixels = np.asarray(Image.open(consep).convert("RGB"))
    folder = tmp_path / "slides"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "T.png")
    ingest(store, [folder], IngestOptions(source="slides", workers=1, mpp=0.25))
    table = exported(store, "nucleus")
    assert table.num_rows > 20
    measured = measure_nuclei(segment_nuclei(pixels, 0.25))
    labels = [int(each.rsplit("_", 1)[1]) for each in table["nucleus_id"].to_pylist()]
    rows = np.searchsorted(measured["label"].to_numpy(), labels)
    for name in FEATURES:
        np.testing.assert_allclose(table[name].to_numpy(), measured[name].to_numpy()[rows])


def test_the_vectors_are_those_of_the_encoder_asked_for(store, encoder, put):
    flat, deep = encoder("flat", "lesion", 2), encoder("deep", "lesion", 3)
    lesions = [{"lesion_id": "a", "patient_id": "P"}]
    vectors = [(flat, lesions, np.ones((1, 2))), (deep, lesions, np.ones((1, 3)))]
    put(store, "all", {"lesion": lesions}, vectors)
    view = store.view()
    for name, dim in (("flat", 2), ("deep", 3), (flat.encoder_id, 2)):
        table = export_level(view, "lesion", encoder_name=name).read_all()
        assert table["embedding"].to_pylist() == [[1.0] * dim]
    with pytest.raises(NotFound, match="lesion encoder 'other'"):
        export_level(view, "lesion", encoder_name="other")
    with pytest.raises(InvalidRequest, match="patients have no encoder of their own"):
        export_level(view, "patient", encoder_name="flat")
    with pytest.raises(InvalidRequest, match="encoder 'flat' embeds lesion, not slide"):
        export_level(view, "slide", encoder_name="flat")
