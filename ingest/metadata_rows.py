"""Rows of a metadata table from the columns that a source has; its other columns are null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tumorbase.store.schema import METADATA


def metadata_rows(
    name: str, columns: Mapping[str, Any], keep: np.ndarray | None = None
) -> pa.Table:
    """Rows of `METADATA[name]`.

    Args:
        name: the table.
        columns: Arrow or numpy arrays or lists of one length; NaN in a number column becomes null.
        keep: bool (rows,): which rows to take; all if None.

    Raises:
        KeyError: a column that the table does not have.
    """
    schema = METADATA[name]
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise KeyError(f"{name} has no column {', '.join(sorted(unknown))}")
    length = len(next(iter(columns.values())))
    arrays = [
        _array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(length, field.type)
        for field in schema
    ]
    rows = pa.Table.from_arrays(arrays, schema=schema)
    return rows if keep is None else rows.filter(pa.array(keep))


def unique_rows(rows: pa.Table) -> pa.Table:
    """The rows without repetitions, in the order of their first appearance."""
    firsts = rows.append_column("_row", pa.array(np.arange(rows.num_rows)))
    grouped = firsts.group_by(rows.column_names, use_threads=False).aggregate([("_row", "min")])
    return rows.take(grouped["_row_min"].sort())


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(kind)
    return pa.array(values, kind, from_pandas=pa.types.is_floating(kind))
