"""Vectors on their way from worker to committer: Arrow IPC streams in the staging folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from tumorbase.ingest.item import Context, VectorRows
from tumorbase.models.encoders import EncoderSpec
from tumorbase.store.schema import VECTOR_ROWS


def vector_column(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """Vectors as one Arrow column.

    Args:
        vectors: float32 (rows, dim), finite.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors must have shape (rows, dim), got {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite, got NaN or infinity")
    flat = np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])


def vector_batch(
    spec: EncoderSpec,
    columns: Mapping[str, Any],
    vectors: np.ndarray,
    extra: Mapping[str, Any] | None = None,
) -> pa.RecordBatch:
    """Rows of one encoder: the columns of its level in the schema's order, `extra`, then `vector`.

    Args:
        spec: whose vectors these are.
        columns: values of each column of `VECTOR_ROWS[spec.level]`, as lists or arrays.
        vectors: float32 (rows, spec.dim).
        extra: columns that only this encoder's rows have, such as the nucleus shape features.

    Raises:
        ValueError: the columns are not those of the level, or the vectors have another dimension.
    """
    schema = VECTOR_ROWS[spec.level]
    if set(columns) != set(schema.names):
        raise ValueError(f"{spec.level} rows need columns {schema.names}, got {sorted(columns)}")
    if vectors.shape[1:] != (spec.dim,):
        raise ValueError(f"{spec.name} vectors need {spec.dim} values, got {vectors.shape[1:]}")
    arrays = {field.name: _column(columns[field.name], field.type) for field in schema}
    arrays |= {name: _column(values) for name, values in (extra or {}).items()}
    arrays["vector"] = vector_column(vectors)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def stage(context: Context, spec: EncoderSpec, batches: Iterable[pa.RecordBatch]) -> VectorRows:
    """Write batches of `vector_batch` to a new staged file, one after the other, and name it.

    If a batch cannot be made, its error goes on and the unfinished file is removed.
    """
    path = context.staging / f"{uuid4().hex}.arrows"
    rows = 0
    writer: pa.RecordBatchStreamWriter | None = None
    try:
        with pa.OSFile(str(path), "wb") as sink:
            for batch in batches:
                writer = writer or pa.ipc.new_stream(sink, batch.schema)
                writer.write_batch(batch)
                rows += batch.num_rows
            (writer or pa.ipc.new_stream(sink, _empty_schema(spec))).close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return VectorRows(spec, str(path), rows)


def _column(values: Any, kind: pa.DataType | None = None) -> pa.Array:
    """`values` as one Arrow array, of type `kind` if given."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values if kind is None else values.cast(kind)
    return pa.array(values, type=kind)


def _empty_schema(spec: EncoderSpec) -> pa.Schema:
    return VECTOR_ROWS[spec.level].append(pa.field("vector", pa.list_(pa.float32(), spec.dim)))
