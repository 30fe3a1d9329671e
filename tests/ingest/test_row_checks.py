"""Rows are refused one by one, each with the first reason found."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from tumorbase.ingest.csv_table import parse_csv_table
from tumorbase.ingest.row_checks import RowChecks, is_number_column, parse_time


def checks_of(*cells: str) -> RowChecks:
    """Checks of a table with one column `a` (and one that keeps blank rows from vanishing)."""
    rows = "".join(f'"{cell}",.\n' for cell in cells)
    return RowChecks(parse_csv_table("t.csv", f"a,other\n{rows}".encode()))


def reasons(checks: RowChecks) -> list[str]:
    return [found.reason for found in checks.rejected]


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-Infinity", "abc", "1,5", "1_000", "0x1"])
def test_what_is_no_finite_number_is_refused(cell: str) -> None:
    checks = checks_of("1", cell, "")
    values = checks.numbers("a")
    assert reasons(checks) == [f"line 3: a must be a finite number, got {cell!r}"]
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan])


@pytest.mark.parametrize("cell", ["+2", "2.", "2e0", " 2 "])
def test_numbers_are_read_as_usually_written(cell: str) -> None:
    checks = checks_of("1", cell)
    assert checks.numbers("a").tolist() == [1.0, 2.0]
    assert reasons(checks) == []


def test_empty_cell_is_missing_unless_required() -> None:
    checks = checks_of("1", "")
    checks.numbers("a")
    assert reasons(checks) == []
    checks.numbers("a", is_required=True)
    assert reasons(checks) == ["line 3: a must be a finite number, got ''"]


def test_number_below_the_lowest_is_refused() -> None:
    checks = checks_of("0", "-0.5")
    checks.numbers("a", lowest=0.0)
    assert reasons(checks) == ["line 3: a must be a finite number of at least 0, got '-0.5'"]


@pytest.mark.parametrize("cell", ["2", "", "yes", "0.5", "-1"])
def test_flag_is_0_or_1(cell: str) -> None:
    checks = checks_of("0", "1", "1.0", cell)
    assert checks.flags("a").tolist()[:3] == [False, True, True]
    assert reasons(checks) == [f"line 5: a must be 0 or 1, got {cell!r}"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2021-03-14", datetime(2021, 3, 14)),
        ("20210314", datetime(2021, 3, 14)),
        ("0001-01-01T00:00+05:00", None),
        ("2021-03-14T05:06:07", datetime(2021, 3, 14, 5, 6, 7)),
        ("2021-03-14 05:06:07+02:00", datetime(2021, 3, 14, 3, 6, 7)),
        ("2021-02-30", None),
        ("14.03.2021", None),
        ("2021", None),
    ],
)
def test_times_are_iso_8601_in_utc(text: str, time: datetime | None) -> None:
    assert parse_time(text) == time


def test_bad_time_is_refused_and_empty_is_none() -> None:
    checks = checks_of("2021-03-14", "", "soon")
    assert checks.times("a").to_pylist() == [datetime(2021, 3, 14), None, None]
    assert reasons(checks) == ["line 4: a must be a date as in 2021-03-14, got 'soon'"]


def test_duplicate_names_the_first_line_and_skips_refused_rows() -> None:
    checks = checks_of("x", "..", "x", "..", "x")
    ids = checks.ids("a")
    checks.refuse_duplicates([ids], "patient")
    assert reasons(checks) == [
        "line 3: a leaves its folder with '..', got '..'",
        "line 4: duplicate patient, first in line 2",
        "line 5: a leaves its folder with '..', got '..'",
        "line 6: duplicate patient, first in line 2",
    ]
    assert checks.keep.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("cell", ["../x", "a/../b", "..", "a\\\\..\\\\b"])
def test_id_that_climbs_out_of_its_folder_is_refused(cell: str) -> None:
    checks = checks_of("a..b", cell.replace("\\\\", "\\"))
    checks.ids("a")
    assert len(reasons(checks)) == 1
    assert "line 3: a leaves its folder" in reasons(checks)[0]


@pytest.mark.parametrize(
    ("cells", "is_number"),
    [
        (["1", "", "nan"], True),
        (["1", "NA"], True),
        (["1", "x"], False),
        (["", ""], False),
        (["NA"], False),
    ],
)
def test_column_is_of_numbers_if_all_its_cells_are(cells: list[str], is_number: bool) -> None:
    assert is_number_column(checks_of(*cells).table.column("a")) is is_number


def test_duplicate_names_the_first_row_of_its_own_value() -> None:
    checks = checks_of("x", "x", "y", "z", "y")
    checks.refuse_duplicates([checks.ids("a")], "patient")
    assert reasons(checks) == [
        "line 3: duplicate patient, first in line 2",
        "line 6: duplicate patient, first in line 4",
    ]
