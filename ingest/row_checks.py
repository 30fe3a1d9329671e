"""The checks of a table's rows, a column at a time: cells become numbers, times and ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.csv_table import CsvTable
from tumorbase.ingest.item import Rejected
from tumorbase.store.schema import TIME

# Of what goes into vectors: the squares of larger numbers leave float32.
LARGEST_MEASURE = 1e18
MISSING_CELLS = ("NA", "N/A")  # what R and spreadsheets write for a covariate that is not there


class RowChecks:
    """Collects which rows of one table are refused; the first reason found for a row counts."""

    def __init__(self, table: CsvTable) -> None:
        self.table = table
        self._reasons: dict[int, str] = {}

    @property
    def keep(self) -> np.ndarray:
        """Rows refused by no check so far, bool (rows,)."""
        keep = np.ones(len(self.table.lines), dtype=bool)
        keep[list(self._reasons)] = False
        return keep

    @property
    def rejected(self) -> list[Rejected]:
        """Everything refused, in the order of the lines; ragged rows first."""
        lines, path, row_is = self.table.lines, self.table.path, self.table.row_is
        return [
            *self.table.rejected,
            *(
                Rejected(path, f"{row_is} {lines[row]}: {self._reasons[row]}")
                for row in sorted(self._reasons)
            ),
        ]

    def refuse(self, is_bad: np.ndarray, reason: Callable[[int], str]) -> None:
        """Refuse rows; `reason` is asked only for those refused here first.

        Args:
            is_bad: bool (rows,).
            reason: from the row's index to what was expected and what came.
        """
        for row in np.flatnonzero(is_bad):
            if int(row) not in self._reasons:
                self._reasons[int(row)] = reason(int(row))

    def ids(self, name: str) -> pa.StringArray:
        """A column of ids: none empty, and none a path that climbs out of its folder."""
        cells = self.table.column(name)
        self.refuse(_is_empty(cells), lambda row: f"{name} is empty")
        self.refuse_climbing(name, cells)
        return cells

    def refuse_climbing(self, name: str, cells: pa.StringArray) -> None:
        """Refuse rows in which a cell is a path with `..`: it could leave the cohort folder."""
        is_climbing = pc.match_substring_regex(cells, _CLIMBING).to_numpy(zero_copy_only=False)
        self.refuse(
            is_climbing,
            lambda row: f"{name} leaves its folder with '..', got {cells[row].as_py()!r}",
        )

    def optional_texts(self, name: str) -> pa.StringArray:
        """A column that may be missing or empty: null where it is."""
        if name not in self.table.names:
            return pa.nulls(len(self.table.lines), pa.string())
        return _null_if_empty(self.table.column(name))

    def patients(self, name: str, known_patients: frozenset[str] | None) -> pa.StringArray:
        """Patient ids; where `known_patients` is given, each must be one of them."""
        cells = self.ids(name)
        if known_patients is not None:
            known = pa.array(sorted(known_patients), pa.string())
            is_unknown = ~pc.is_in(cells, value_set=known).to_numpy(zero_copy_only=False)
            self.refuse(
                is_unknown, lambda row: f"{name} {cells[row].as_py()!r} is not in patients.csv"
            )
        return cells

    def flags(self, name: str) -> np.ndarray:
        """A column of 0 and 1, bool (rows,)."""
        cells = self.table.column(name)
        values = parse_numbers(cells)
        is_bad = ~np.isin(values, (0.0, 1.0))
        self.refuse(is_bad, lambda row: f"{name} must be 0 or 1, got {cells[row].as_py()!r}")
        return values == 1.0

    def numbers(
        self,
        name: str,
        *,
        is_required: bool = False,
        lowest: float = -np.inf,
        largest: float = np.inf,
        missing: Sequence[str] = ("",),
    ) -> np.ndarray:
        """A column of finite numbers, float64 (rows,), NaN where the cell is empty.

        Args:
            name: a column of the table.
            is_required: refuse rows in which it is empty.
            lowest: refuse rows in which it is smaller.
            largest: refuse rows in which it is greater, by its absolute value.
            missing: cells that count as empty.
        """
        cells = self.table.column(name)
        values = parse_numbers(cells)
        is_empty = pc.is_in(cells, value_set=pa.array(missing)).to_numpy(zero_copy_only=False)
        wanted = (
            "a finite number" if lowest == -np.inf else f"a finite number of at least {lowest:g}"
        )
        is_bad = ~np.isfinite(values) & ~is_empty
        is_bad |= np.isfinite(values) & (values < lowest)
        if is_required:
            is_bad |= is_empty
        self.refuse(is_bad, lambda row: f"{name} must be {wanted}, got {cells[row].as_py()!r}")
        self.refuse(
            np.abs(values) > largest,
            lambda row: f"{name} must be at most {largest:g} by size, got {cells[row].as_py()!r}",
        )
        return np.where(np.isfinite(values) & (np.abs(values) <= largest), values, np.nan)

    def times(self, name: str) -> pa.TimestampArray:
        """A column of ISO 8601 dates or times, in UTC; null where column or cell is missing."""
        if name not in self.table.names:
            return pa.nulls(len(self.table.lines), TIME)
        cells = self.table.column(name)
        encoded = pc.dictionary_encode(cells)
        parsed = [parse_time(text) for text in encoded.dictionary.to_pylist()]
        times = pa.array(parsed, TIME).take(encoded.indices)
        is_bad = times.is_null().to_numpy(zero_copy_only=False) & ~_is_empty(cells)
        self.refuse(
            is_bad,
            lambda row: f"{name} must be a date as in 2021-03-14, got {cells[row].as_py()!r}",
        )
        return times

    def refuse_duplicates(self, columns: Sequence[pa.Array], what: str) -> None:
        """Refuse a row that repeats these columns of an earlier row, which the reason names."""
        keep = np.flatnonzero(self.keep)
        joined = pc.binary_join_element_wise(*(pc.fill_null(c, "") for c in columns), "\x1f")
        codes = pc.dictionary_encode(joined.take(pa.array(keep))).indices.to_numpy()
        _, first, code = np.unique(codes, return_index=True, return_inverse=True)
        earlier = np.arange(len(joined))
        earlier[keep] = keep[first[code]]
        lines = self.table.lines
        self.refuse(
            earlier != np.arange(len(joined)),
            lambda row: f"duplicate {what}, first in {self.table.row_is} {lines[earlier[row]]}",
        )


def parse_numbers(cells: pa.StringArray) -> np.ndarray:
    """Cells as float64 (rows,): NaN where empty or no number; NaN and infinity as written."""
    try:
        values = _null_if_empty(cells).cast(pa.float64())
    except pa.ArrowInvalid:
        values = pa.array([_number_or_nan(text) for text in cells.to_pylist()], pa.float64())
    return values.fill_null(np.nan).to_numpy(zero_copy_only=False)


def is_number_column(cells: pa.StringArray) -> bool:
    """Whether each cell that is not empty or in `MISSING_CELLS` is a number, and there is one."""
    stated = cells.filter(pc.invert(pc.is_in(cells, value_set=pa.array(["", *MISSING_CELLS]))))
    return len(stated) > 0 and all(_NUMBER.fullmatch(text) for text in stated.unique().to_pylist())


def parse_time(text: str) -> datetime | None:
    """An ISO 8601 date or time (also 20210314) in UTC without zone; None if it is not one."""
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):  # in UTC, year 1 may become year 0
        return None


_CLIMBING = r"(^|[/\\])\.\.([/\\]|$)"

# As Python's float, without the underscores that it allows between digits.
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE
)


def _number_or_nan(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else np.nan


def _is_empty(cells: pa.StringArray) -> np.ndarray:
    return pc.equal(cells, "").to_numpy(zero_copy_only=False)


def _null_if_empty(cells: pa.StringArray) -> pa.StringArray:
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
