"""A CSV is read once, whole, with the line of each row."""

from __future__ import annotations

import pytest

from tumorbase.ingest.csv_table import parse_csv_table, read_csv_table, read_header
from tumorbase.store.errors import BadInput


def test_cells_are_stripped_text() -> None:
    table = parse_csv_table("t.csv", b"a, b\n 1 ,x\n,\n")
    assert table.names == ("a", "b")
    assert table.column("a").to_pylist() == ["1", ""]
    assert table.column("b").to_pylist() == ["x", ""]


def test_lines_count_blank_lines_and_newlines_in_quotes() -> None:
    table = parse_csv_table("t.csv", b'a,b\n1,2\n\n"3\n3",4\n\n5,6\n')
    assert table.column("a").to_pylist() == ["1", "3\n3", "5"]
    assert table.lines.tolist() == [2, 4, 7]


def test_doubled_quotes_are_one_quote() -> None:
    table = parse_csv_table("t.csv", b'a,b\n"x ""y"" z",2\n3,4')
    assert table.column("a").to_pylist() == ['x "y" z', "3"]
    assert table.lines.tolist() == [2, 3]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_all_systems_are_read(end: bytes) -> None:
    table = parse_csv_table("t.csv", end.join([b"a,b", b"1,2", b"3,4", b""]))
    assert table.column("b").to_pylist() == ["2", "4"]
    assert table.lines.tolist() == [2, 3]


def test_row_of_another_width_is_rejected_by_its_line() -> None:
    table = parse_csv_table("t.csv", b'a,b\n"1\n1",2\n\n3\n4,5,6\n7,8\n')
    assert [(found.path, found.reason) for found in table.rejected] == [
        ("t.csv", "line 5: expected 2 cells, got 1"),
        ("t.csv", "line 6: expected 2 cells, got 3"),
    ]
    assert table.column("a").to_pylist() == ["1\n1", "7"]
    assert table.lines.tolist() == [2, 7]


def test_byte_order_mark_is_not_part_of_the_first_name() -> None:
    assert parse_csv_table("t.csv", b"\xef\xbb\xbfa,b\n1,2\n").names == ("a", "b")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b" \n\n", "empty file"),
        (b"a,b\n1,M\xfcller\n", r"expected UTF-8, got byte 0xfc at offset 7 \(line 2\)"),
        (b"\xff\xfea\x00,\x00b\x00", "expected UTF-8, got byte 0xff at offset 0"),
        (b"a,b\n1,\x00\n", "zero byte at offset 6"),
        (b"a,b,a\n1,2,3\n", "names a column twice: a"),
        (b'a,b\n5" tumour,"x\n1,2\n', "double quotes do not pair"),
    ],
)
def test_file_that_is_no_table_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        parse_csv_table("t.csv", data)


def test_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="header lacks c; it has a, b"):
        parse_csv_table("t.csv", b"a,b\n1,2\n").require(["a", "c"])


def test_table_of_semicolons_is_told_to_use_commas() -> None:
    with pytest.raises(BadInput, match="separated by commas, not semicolons"):
        parse_csv_table("t.csv", b"a;c\n1;2\n").require(["a", "c"])


def test_file_that_cannot_be_opened_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_csv_table(str(tmp_path))


def test_header_only_table_has_no_rows() -> None:
    table = parse_csv_table("t.csv", b"a,b\n")
    assert table.cells.num_rows == 0
    assert table.lines.tolist() == []


def test_header_is_read_without_the_rest(tmp_path) -> None:
    (tmp_path / "t.csv").write_bytes(b'\n"a, 1", b \n\xff\n')
    assert read_header(tmp_path / "t.csv") == ("a, 1", "b")
    assert read_header(tmp_path / "none.csv") == ()
