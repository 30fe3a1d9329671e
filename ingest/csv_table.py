"""A CSV file, read once: every cell as text in columns, every row with its line in the file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from tumorbase.ingest.item import Rejected
from tumorbase.store.errors import BadInput

_QUOTE, _NEWLINE = ord('"'), ord("\n")


@dataclass(frozen=True)
class CsvTable:
    """The rows of a CSV that have as many cells as its header; `rejected` names the others.

    Cells are stripped; an empty one is "". `lines` are 1-based, int64 (rows,).
    """

    path: str
    cells: pa.Table
    lines: np.ndarray
    rejected: tuple[Rejected, ...] = ()
    row_is: str = "line"  # what a row is called in messages

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the file; pandas' unnamed index column is ""."""
        return tuple(self.cells.column_names)

    def column(self, name: str) -> pa.StringArray:
        """The column's cells, as text."""
        return self.cells[name].combine_chunks()

    def require(self, names: Iterable[str]) -> None:
        """Check that the header has these columns.

        Raises:
            BadInput: one is missing; the reason names it and those there are.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            reason = f"header lacks {', '.join(missing)}; it has {_abbreviated(self.names)}"
            if len(self.names) == 1 and ";" in self.names[0]:
                reason += "; columns must be separated by commas, not semicolons"
            raise BadInput(self.path, reason)


def read_csv_table(path: str) -> CsvTable:
    """The CSV at `path`.

    Raises:
        BadInput: it cannot be read, is empty, is not UTF-8 or has a header that is not one.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error
    return parse_csv_table(path, data)


def parse_csv_table(path: str, data: bytes) -> CsvTable:
    """The CSV whose bytes are `data`; `path` is what messages name.

    Raises:
        BadInput: as `read_csv_table`.
    """
    _check_text(path, data)
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = _row_lines(data)
    if not len(lines):
        raise BadInput(path, "expected a table with a header, got only empty lines")
    header = _header(path, data)
    cells, ragged = _cells(path, data, len(header))
    if cells.num_rows + len(ragged) != len(lines):
        raise BadInput(path, 'double quotes do not pair: write a quote within a cell as ""')
    lines_of_cells = np.delete(lines, [row.number - 1 for row in ragged])
    stripped = [pc.utf8_trim_whitespace(column) for column in cells.columns]
    rejected = tuple(
        Rejected(
            path,
            f"line {lines[row.number - 1]}: expected {len(header)} cells, got {row.actual_columns}",
        )
        for row in ragged
    )
    return CsvTable(path, pa.table(stripped, names=header).slice(1), lines_of_cells[1:], rejected)


def read_header(path: Path) -> tuple[str, ...]:
    """Column names of the CSV at `path`, from its first 4 MiB; empty if there are none."""
    try:
        with path.open("rb") as file:
            data = file.read(1 << 22)
    except OSError:
        return ()
    text = data.decode("utf-8-sig", errors="replace")
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        return tuple(name.strip() for name in next(filter(None, rows), []))
    except csv.Error:
        return ()


def _check_text(path: str, data: bytes) -> None:
    if not data.strip():
        raise BadInput(path, "expected a table with a header, got an empty file")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02x} at offset {error.start} (line {line})"
        raise BadInput(path, f"expected UTF-8, got {what}") from error
    if b"\x00" in data:
        raise BadInput(path, f"expected text, got a zero byte at offset {data.index(0)}")


def _row_lines(data: bytes) -> np.ndarray:
    """The 1-based line on which each row that is not empty starts; a quoted newline ends no row."""
    text = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", dtype=np.uint8)
    newlines = np.flatnonzero(text == _NEWLINE)
    quotes_before = np.searchsorted(np.flatnonzero(text == _QUOTE), newlines)
    is_row_end = quotes_before % 2 == 0
    ends = newlines[is_row_end]
    starts = np.concatenate([[0], ends[:-1] + 1])
    first_lines = np.concatenate([[1], np.flatnonzero(is_row_end)[:-1] + 2])
    return first_lines[ends > starts].astype(np.int64)


def _header(path: str, data: bytes) -> list[str]:
    first_rows = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
    try:
        header = [name.strip() for name in next(filter(None, first_rows))]
    except csv.Error as error:
        raise BadInput(path, f"header cannot be read: {error}") from error
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise BadInput(path, f"header names a column twice: {_abbreviated(twice)}")
    return header


def _cells(path: str, data: bytes, width: int) -> tuple[pa.Table, list[arrow_csv.InvalidRow]]:
    """All rows of `width` cells as text, the header among them, and the rows of another width."""
    ragged: list[arrow_csv.InvalidRow] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    try:
        cells = arrow_csv.read_csv(
            pa.py_buffer(data),
            # One thread and one block: only then are the numbers of ragged rows known.
            read_options=arrow_csv.ReadOptions(
                autogenerate_column_names=True, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=arrow_csv.ConvertOptions(
                column_types={f"f{i}": pa.string() for i in range(width)}
            ),
        )
    except pa.ArrowInvalid as error:
        raise BadInput(path, f"not a CSV: {error}") from error
    return cells, ragged


def _abbreviated(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:8]) + (f", ... ({len(shown)} in all)" if len(shown) > 8 else "")
