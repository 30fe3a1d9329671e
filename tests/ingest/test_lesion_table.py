"""lesions.csv: positions and RECIST axes become lesions with vectors."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.ingest.chosen_encoders import resolve_encoders
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.lesion_table import read_lesions_table
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

HEADER = "lesion_id,patient_id,study_id,study_date,x_mm,y_mm,z_mm,long_axis_mm,short_axis_mm,type\n"
GOOD = "L1,P1,S1,2020-01-02,1,-2,3,20,10,liver\n"


def read(tmp_path: Path, text: str, encoders: tuple[str, ...] = ()) -> ItemRows:
    """The rows of a lesions.csv with this text."""
    path = tmp_path / "lesions.csv"
    path.write_text(text)
    resolved = resolve_encoders(encoders)
    context = Context(tmp_path, resolved, known_patients=frozenset({"P1", "P2"}))
    item = Item("lesions_table", "table:c/lesions.csv", str(path), (str(path),))
    return read_lesions_table(item, context)


def reasons(rows: ItemRows) -> list[str]:
    return [found.reason for found in rows.rejected]


def staged(path: str) -> pa.Table:
    with pa.OSFile(path) as source:
        return pa.ipc.open_stream(source).read_all()


def test_lesion_keeps_position_axes_and_date(tmp_path) -> None:
    rows = read(tmp_path, HEADER + GOOD)
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    (lesion,) = rows.tables["lesion"].to_pylist()
    assert (lesion["x_mm"], lesion["y_mm"], lesion["z_mm"]) == (1.0, -2.0, 3.0)
    assert (lesion["long_axis_mm"], lesion["short_axis_mm"]) == (20.0, 10.0)
    assert (lesion["region"], lesion["type"]) == ("liver", "liver")
    assert lesion["event_time"] == datetime(2020, 1, 2)
    assert lesion["series_id"] is None
    (study,) = rows.tables["study"].to_pylist()
    assert study["study_date"] == datetime(2020, 1, 2)


def test_when_a_lesion_was_known_says_nothing_of_its_study(tmp_path) -> None:
    rows = GOOD.strip() + ",2021-06-01\nL2,P1,S1,,1,2,3,20,10,,2022-06-01\n"
    tables = read(tmp_path, HEADER.strip() + ",known_at\n" + rows).tables
    assert tables["study"].to_pylist() == [
        {
            "patient_id": "P1",
            "study_id": "S1",
            "study_date": datetime(2020, 1, 2),
            "known_at": None,
        }
    ]
    known = tables["lesion"]["known_at"].to_pylist()
    assert known == [datetime(2021, 6, 1), datetime(2022, 6, 1)]


def test_region_is_that_column_else_the_type_else_primary(tmp_path) -> None:
    text = (
        HEADER.strip()
        + ",region\n"
        + "".join(
            f"L{index},P1,S1,,1,2,3,20,10,{kind},{region}\n"
            for index, (kind, region) in enumerate([("met", "node"), ("liver", ""), ("", "")])
        )
    )
    lesions = read(tmp_path, text).tables["lesion"]
    assert lesions["region"].to_pylist() == ["node", "liver", "primary"]
    assert lesions["type"].to_pylist() == ["met", "liver", None]


def test_unknown_numbers_are_null(tmp_path) -> None:
    (lesion,) = read(tmp_path, HEADER + "L1,P1,S1,,,,,20,,\n").tables["lesion"].to_pylist()
    assert lesion["x_mm"] is None
    assert lesion["short_axis_mm"] is None


def test_a_lesion_that_is_gone_has_a_row_and_no_vector(tmp_path) -> None:
    rows = read(tmp_path, HEADER + "L1,P1,S1,,1,2,3,20,10,\nL2,P1,S1,,1,2,3,0,0,\n")
    assert rows.rejected == []
    assert rows.tables["lesion"]["long_axis_mm"].to_pylist() == [20, 0]
    assert [vectors.rows for vectors in rows.vectors] == [1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("L1,P1,S1,,1,2,3,20,10,", "line 3: duplicate lesion_id, first in line 2"),
        (
            "L2,P1,S1,,1,2,3,-20,-30,",
            "line 3: long_axis_mm and short_axis_mm must be at least 0, got -30",
        ),
        ("L2,P1,S1,,1e300,2,3,20,10,", "line 3: x_mm must be at most 1e+18 by size, got '1e300'"),
        ("L2,P1,S1,,1,2,3,10,20,", "line 3: short_axis_mm must not exceed long_axis_mm 10, got 20"),
        ("L2,P1,S1,,nan,2,3,20,10,", "line 3: x_mm must be a finite number, got 'nan'"),
        ("L2,P9,S1,,1,2,3,20,10,", "line 3: patient_id 'P9' is not in patients.csv"),
        (
            "L2,P1,S1,2020-01-03,1,2,3,20,10,",
            "line 3: study_date differs from that of the same study on line 2",
        ),
        (
            "L2,P1,S1,1/2/20,1,2,3,20,10,",
            "line 3: study_date must be a date as in 2021-03-14, got '1/2/20'",
        ),
    ],
)
def test_bad_lesion_is_rejected_and_the_others_stay(tmp_path, row: str, reason: str) -> None:
    rows = read(tmp_path, HEADER + GOOD + row + "\nL3,P2,S1,2021-01-02,1,2,3,20,10,\n")
    assert reasons(rows) == [reason]
    assert rows.tables["lesion"]["lesion_id"].to_pylist() == ["L1", "L3"]
    assert staged(rows.vectors[0].path)["lesion_id"].to_pylist() == ["L1", "L3"]


def test_vectors_are_those_of_the_measurement_encoder(tmp_path) -> None:
    rows = read(tmp_path, HEADER + GOOD)
    (vectors,) = rows.vectors
    assert vectors.spec.name == "measurement"
    table = staged(vectors.path)
    assert table.num_rows == vectors.rows == 1
    assert np.isfinite(table["vector"].to_pylist()).all()


@pytest.mark.parametrize(
    ("encoders", "is_encoded"),
    [(("measurement",), True), (("nucleus-shape",), True), (("radiomics",), False)],
)
def test_run_with_other_lesion_encoders_makes_no_measurement_vectors(
    tmp_path, encoders: tuple[str, ...], is_encoded: bool
) -> None:
    assert bool(read(tmp_path, HEADER + GOOD, encoders).vectors) is is_encoded


def test_table_of_bad_rows_alone_has_no_vectors(tmp_path) -> None:
    rows = read(tmp_path, HEADER + "L1,P9,S1,,1,2,3,20,10,\n")
    assert rows.vectors == []
    assert rows.tables["lesion"].num_rows == 0


def test_table_without_axes_is_refused_whole(tmp_path) -> None:
    with pytest.raises(BadInput, match="header lacks study_date, x_mm"):
        read(tmp_path, "lesion_id,patient_id,study_id\nL1,P1,S1\n")
