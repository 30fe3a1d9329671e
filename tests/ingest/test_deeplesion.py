"""DeepLesion tables: each of their traps, on the real rows and on the official layout."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorbase.ingest.deeplesion import plan_deeplesion, read_deeplesion_table
from tumorbase.ingest.deeplesion_types import TYPES, region_of_type
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

OFFICIAL_HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,"
    "Bounding_boxes,Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,"
    "Possibly_noisy,Slice_range,Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,"
    "Patient_age,Train_Val_Test\n"
)
# Row 35 of DL_info.csv as the derived table has it, in the official layout.
OFFICIAL_ROW = (
    '000009_04_01_060.png,9,4,1,60,"312,220,325,232,314,231,324,222","307,216,330,237",'
    '"13.8037,11.2939","0.5,0.5,0.5",2,0,"45, 75","0.78125, 0.78125, 2","512, 512","-175, 275",M,'
    "58,2\n"
)


def read(path: Path, staging: Path) -> ItemRows:
    rows = read_deeplesion_table(
        Item("deeplesion_table", "table:x", str(path), (str(path),)), Context(staging)
    )
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    return rows


@pytest.fixture(scope="module")
def annotations(shared) -> Path:
    """The folder of the two derived tables."""
    return shared / "data/deeplesion/fm_annotations"


@pytest.fixture(scope="module")
def derived(annotations, tmp_path_factory) -> ItemRows:
    """All rows of task1_train.csv, the official validation part."""
    return read(annotations / "task1_train.csv", tmp_path_factory.mktemp("staging"))


@pytest.fixture
def official(tmp_path) -> ItemRows:
    """One lesion in the official layout, on line 2 of the file."""
    (tmp_path / "DL_info.csv").write_text(OFFICIAL_HEADER + OFFICIAL_ROW)
    return read(tmp_path / "DL_info.csv", tmp_path)


def one(rows: ItemRows, lesion_id: str) -> dict:
    lesions = rows.tables["lesion"]
    (row,) = lesions.filter(pa.compute.equal(lesions["lesion_id"], lesion_id)).to_pylist()
    return row


def test_all_rows_become_lesions_with_vectors_in_time(annotations, tmp_path) -> None:
    started = time.perf_counter()
    tables = [read(annotations / f"{name}.csv", tmp_path) for name in ("pretrain", "task1_train")]
    assert time.perf_counter() - started < 60
    assert [rows.tables["lesion"].num_rows for rows in tables] == [11467, 2610]
    assert [vectors.rows for rows in tables for vectors in rows.vectors] == [11467, 2610]
    assert [rows.rejected for rows in tables] == [[], []]
    ids = [name for rows in tables for name in rows.tables["lesion"]["lesion_id"].to_pylist()]
    assert len(set(ids)) == 14077


def test_ids_come_from_the_volume_and_the_row_of_dl_info(derived) -> None:
    lesion = one(derived, "deeplesion/00035")
    assert lesion["patient_id"] == "000009"
    assert lesion["study_id"] == "000009_04"
    assert lesion["series_id"] == "000009_04_01"


def test_slices_and_pixels_count_from_1(derived) -> None:
    lesion = one(derived, "deeplesion/00035")
    assert lesion["z_mm"] == pytest.approx((16 - 1) * 2.0)
    assert lesion["x_mm"] == pytest.approx((319.0894987698549 - 1) * 0.78125)
    assert lesion["x_min_mm"] == pytest.approx((307 - 1) * 0.78125)


def test_x_is_along_columns_and_the_swapped_coordinates_are_not_read(derived, annotations) -> None:
    source = pd.read_csv(annotations / "task1_train.csv")
    lesions = derived.tables["lesion"]
    x_mm, y_mm = (np.array(lesions[name]) for name in ("x_mm", "y_mm"))
    inside_x = (np.array(lesions["x_min_mm"]) <= x_mm) & (x_mm <= np.array(lesions["x_max_mm"]))
    inside_y = (np.array(lesions["y_min_mm"]) <= y_mm) & (y_mm <= np.array(lesions["y_max_mm"]))
    assert (inside_x & inside_y).mean() > 0.99
    # coordX is floor(centroid_y) x spacing, so it lies within 2 pixels of y and not of x.
    close = np.abs(source["coordX"] - y_mm) <= 2 * source["spacing_y"]
    assert close.all()
    assert (np.abs(source["coordX"] - x_mm) <= 2 * source["spacing_x"]).mean() < 0.1


def test_positions_agree_with_the_lesion_tracker_of_another_group(
    derived, annotations, shared
) -> None:
    """DLT counts slices and pixels from 0; the same mark is found by its box, 1 pixel smaller."""
    pairs = json.loads((shared / "data/deeplesion/dlt/valid.json").read_text())
    source = pd.read_csv(annotations / "task1_train.csv")
    placed = derived.tables["lesion"].to_pandas()
    groups = source.groupby("Volume_fn").indices
    checked = 0
    for pair in list(pairs.values())[:200]:
        if pair["source"] not in groups:
            continue
        box = pair["source recist box"]  # x, y, width, height in pixels
        for row in groups[pair["source"]]:
            corners = np.array(json.loads(source["bbox"][row])) - 1
            theirs = np.array([*box[:2], box[0] + box[2], box[1] + box[3]])
            if np.abs(corners - np.floor(theirs)).max() <= 1:
                voxels = placed.loc[row, ["x_mm", "y_mm", "z_mm"]].to_numpy(float) / np.array(
                    pair["source spacing"]
                )
                centre = np.array(pair["source recist center"])
                assert voxels[2] == pytest.approx(centre[2])
                assert np.abs(voxels[:2] - centre[:2]).max() <= max(box[2:])
                checked += 1
    assert checked > 50


def test_derived_type_is_the_official_one_minus_1(derived, annotations) -> None:
    source = pd.read_csv(annotations / "task1_train.csv")
    names = [TYPES[number] for number in source["Coarse_lesion_type"]]
    assert derived.tables["lesion"]["region"].to_pylist() == names
    assert one(derived, "deeplesion/00035")["region"] == "abdomen"


def test_unknown_type_is_no_type(annotations, tmp_path) -> None:
    lesions = read(annotations / "pretrain.csv", tmp_path).tables["lesion"]
    assert set(lesions["region"].to_pylist()) == {"unknown"}
    assert set(lesions["type"].to_pylist()) == {None}


def test_derived_axes_are_mm(derived) -> None:
    lesion = one(derived, "deeplesion/00035")
    assert lesion["long_axis_mm"] == pytest.approx(10.784140625)
    assert lesion["short_axis_mm"] == pytest.approx(8.823359375)


def test_official_layout_gives_the_same_lesion(derived, official) -> None:
    ours, theirs = one(derived, "deeplesion/00035"), one(official, "deeplesion/00000")
    for name in ("patient_id", "study_id", "series_id", "region", "z_mm", "x_min_mm", "y_max_mm"):
        assert theirs[name] == ours[name], name
    assert theirs["long_axis_mm"] == pytest.approx(ours["long_axis_mm"], rel=1e-3)
    assert theirs["x_mm"] == pytest.approx(ours["x_mm"], abs=3 * 0.78125)
    assert official.tables["series"]["spacing_z_mm"].to_pylist() == [2.0]


def test_patient_has_one_sex_and_one_age(derived) -> None:
    facts = derived.tables["fact"].to_pandas()
    assert facts.groupby(["patient_id", "name"]).size().max() == 1
    assert set(facts["name"]) == {"sex", "age"}


@pytest.mark.parametrize(
    ("was", "now", "reason"),
    [
        (",2,0,", ",9,0,", "Coarse_lesion_type 9"),
        (",60,", ",80,", "Key_slice_index 80 is not in Slice_range"),
        (",60,", ",nan,", "Key_slice_index must be a finite number"),
        ("0.78125, 0.78125, 2", "0.78125, 0, 2", "spacing must be positive"),
        ("0.78125, 0.78125, 2", "0.78125, 0.78125", "Spacing_mm_px_ must be 3 finite numbers"),
        ("13.8037,11.2939", "11.2939,13.8037", "expected axes long >= short > 0"),
        ("13.8037,11.2939", "13.8037,0", "expected axes long >= short > 0"),
        ("307,216,330,237", "307,216,nan,237", "Bounding_boxes must be 4 finite numbers"),
        ("000009_04_01_060.png", "somewhere.png", "File_name must name patient, study, series"),
    ],
)
def test_bad_row_is_rejected_and_the_others_stay(tmp_path, was: str, now: str, reason: str) -> None:
    path = tmp_path / "DL_info.csv"
    path.write_text(OFFICIAL_HEADER + OFFICIAL_ROW.replace(was, now, 1) + OFFICIAL_ROW)
    rows = read(path, tmp_path)
    assert len(rows.rejected) == 1
    assert re.match(f"line 2: {re.escape(reason)}", rows.rejected[0].reason)
    assert rows.tables["lesion"]["lesion_id"].to_pylist() == ["deeplesion/00001"]


def test_table_of_another_layout_is_refused(tmp_path) -> None:
    (tmp_path / "DL_info.csv").write_text("File_name\nx.png\n")
    with pytest.raises(BadInput, match="header lacks Key_slice_index"):
        read(tmp_path / "DL_info.csv", tmp_path)


def test_types_are_the_eight_official_ones() -> None:
    assert [region_of_type(number) for number in (1, 5, 8, -1)] == [
        "bone",
        "lung",
        "pelvis",
        "unknown",
    ]
    assert [region_of_type(number) for number in (0, 9, 1.5, float("nan"))] == [None] * 4


def test_plan_finds_tables_and_key_slices(shared) -> None:
    planned = plan_deeplesion([shared / "data/deeplesion"])
    kinds = [item.kind for item in planned.items]
    assert kinds == ["deeplesion_table"] * 2 + ["key_slice"] * 35
    assert planned.rejected == ()


def test_folder_without_deeplesion_is_refused(tmp_path) -> None:
    planned = plan_deeplesion([tmp_path])
    assert [found.path for found in planned.rejected] == [str(tmp_path)]
