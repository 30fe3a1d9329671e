"""Filters: what a predicate may be, and which rows it picks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from tumorbase.query.predicate import matching_rows
from tumorbase.store.errors import InvalidRequest

ROWS = pa.table(
    {
        "age": [50.0, 70.0, None, 61.0],
        "sex": ["F", "F", "M", "O'Brien; -- (x"],
        "größe": [1, 2, 3, 4],
    }
)


@pytest.mark.parametrize(
    ("where", "picked"),
    [
        ("age > 60", [1, 3]),
        ("age > 60 AND sex = 'F'", [1]),
        ("NOT age > 60", [0]),
        ("age = NULL", []),
        ("age IS NULL", [2]),
        ("age <> 70", [0, 3]),
        ("age IN (50, 70)", [0, 1]),
        ("age BETWEEN 60 AND 65", [3]),
        ("sex = 'O''Brien; -- (x'", [3]),
        ("sex LIKE 'O%'", [3]),
        ("lower(sex) = 'f'", [0, 1]),
        ("regexp_matches(sex, '^[FM]$')", [0, 1, 2]),
        ("größe >= 3", [2, 3]),
        ('"größe" % 2 = 0', [1, 3]),
        ("CASE WHEN sex = 'M' THEN true ELSE age > 65 END", [1, 2]),
        ("TRY_CAST(sex AS INTEGER) IS NULL", [0, 1, 2, 3]),
        ("age > 60 -- the older", [1, 3]),
        ("age > /* the older */ 60", [1, 3]),
        ("(age > 60) OR (sex = 'M')", [1, 2, 3]),
        ("1=1) AND (age > 60", [1, 3]),  # odd, but a predicate
    ],
)
def test_a_predicate_picks_the_rows_it_is_true_of(where, picked):
    assert matching_rows(ROWS, where).nonzero()[0].tolist() == picked


@pytest.mark.parametrize(
    "where",
    [
        "",
        "-- nothing",
        "age >",
        "age > 60)",
        "1=1; DROP TABLE candidates",
        "1=1); DELETE FROM candidates; SELECT (1",
        "1=1)); DELETE FROM candidates; SELECT ((1",
        "1=1) UNION SELECT (1",
        "1=1)) UNION SELECT _row FROM candidates WHERE ((1=1",
        "1=1)) LIMIT ((1",
        "1=1)) ORDER BY ((1",
        "1=1)) GROUP BY ((age",
        "1=1)) QUALIFY ((true",
        "1=1) WINDOW w AS (PARTITION BY age",
        "1=1) USING SAMPLE (1",
        "age IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "age = ANY([70])",
        "row_number() OVER () = 1",
        "sum(age) > 1",
        "read_csv('/etc/passwd') = 1",
        "read_text('/etc/passwd') = ''",
        "EXISTS (FROM '/etc/passwd')",
        "getenv('HOME') = ''",
        "pragma_version() = ''",
        "current_setting('threads') = 1",
        "nextval('x') = 1",
        "len(list_transform([age], x -> x)) = 1",
        "len(list_transform([age], lambda x: x)) = 1",
        "age > $1",
        "age > ?",
        "*",
        "COLUMNS(*) > 1",
        "#1 = 1",
        "DEFAULT",
        "sex",
        "age > 'abc'",
        "ln(0) > 1",
        "sex = '\x00'",
        "sex = '\ud800'",
        "NOT " * 5000 + "true",
        "+".join(["age"] * 5000) + " > 1",
        "age > 0" + " " * 100_000,
    ],
)
def test_what_is_no_predicate_is_refused(where):
    with pytest.raises(InvalidRequest, match=r"^filter "):
        matching_rows(ROWS, where)


def test_an_unknown_column_is_named():
    with pytest.raises(InvalidRequest, match='"stage" not found'):
        matching_rows(ROWS, "stage = 'II'")


def test_long_lists_and_chains_are_taken():
    assert matching_rows(ROWS, f"age IN ({', '.join(map(str, range(2000)))})").sum() == 3
    assert matching_rows(ROWS, " OR ".join(f"age = {i}" for i in range(300))).sum() == 3


def test_no_rows_are_filtered_to_none():
    assert matching_rows(ROWS.slice(0, 0), "age > 60").tolist() == []


def test_a_column_named_as_the_row_number_is_only_a_column():
    rows = ROWS.append_column("_row", pa.array([9, 9, 9, 9]))
    assert matching_rows(rows, "age > 60").nonzero()[0].tolist() == [1, 3]


def test_filters_of_several_threads_see_their_own_rows():
    def count(size: int) -> int:
        return int(matching_rows(pa.table({"x": list(range(size))}), "x >= 1").sum())

    sizes = [1 + index % 7 for index in range(60)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(count, sizes)) == [size - 1 for size in sizes]
