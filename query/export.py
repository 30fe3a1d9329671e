"""Give me the training set: every row of a level, as it was known at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.query.level_columns import align, covariates, with_body_part
from tumorbase.query.point_in_time import KNOWN, in_utc, known_patients
from tumorbase.query.similar import choose_encoder
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.schema import VECTOR_ROWS
from tumorbase.store.view import View

EXPORT_LEVELS = (
    "lesion",
    "patch",
    "region",
    "nucleus",
    "slide",
    "profile",
    "series",
    "case",
    "patient",
)
# Level -> where it is described.
_DESCRIBED = {name: name for name in ("lesion", "slide", "profile", "series")} | {
    "case": """(
SELECT concat_ws('/', patient_id, study_id) AS case_id, *,
    coalesce(study_date, known_at) AS event_time FROM study)"""
}
_OUTCOMES = f"""
SELECT patient_id, endpoint, time_days, is_event AS event FROM outcome WHERE {KNOWN}
QUALIFY row_number() OVER (
    PARTITION BY patient_id, endpoint ORDER BY known_at DESC, event_time DESC, time_days) = 1
ORDER BY endpoint
"""


def export_level(
    view: View, level: str, as_of: datetime | None = None, encoder_name: str = ""
) -> pa.RecordBatchReader:
    """All rows of a level, in the order of their ids, or for slides' parts as they were written.

    Each comes with what the encoder `encoder_name`, else the level's preferred one, made of it:
    columns `<encoder>.<feature>` if it names its features, else `embedding` as stored. Patches have
    an `embedding` in any case, nuclei their shape features too, patients covariates and outcomes.

    With `as_of` (UTC) only facts come with `event_time <= as_of AND known_at <= as_of`; parts of a
    slide have the times of their slide.

    Raises:
        InvalidRequest: there is no such level, or the encoder is of another one.
        NotFound: the store has no such encoder.
    """
    if level not in EXPORT_LEVELS:
        raise InvalidRequest(f"level must be one of {', '.join(EXPORT_LEVELS)}, got {level!r}")
    as_of = in_utc(as_of)
    if level == "patient":
        if encoder_name:
            raise InvalidRequest(f"patients have no encoder of their own, got {encoder_name!r}")
        return _patients(view, as_of).to_reader()
    is_encoded = encoder_name or view.encoders(level)
    encoder = choose_encoder(view, level, encoder_name) if is_encoded else None
    if level in _DESCRIBED:
        return _described(view, level, encoder, as_of).to_reader()
    if encoder is None:
        return VECTOR_ROWS[level].empty_table().to_reader()
    return _slide_parts(view, encoder, as_of)


def _described(
    view: View, level: str, encoder: StoredEncoder | None, as_of: datetime | None
) -> pa.Table:
    rows = view.sql(f"FROM {_DESCRIBED[level]} WHERE {KNOWN} ORDER BY {level}_id", as_of=as_of)
    if level == "lesion":
        rows = with_body_part(view, rows)
    if encoder is None:
        return rows
    vectors = view.vectors(encoder)
    features = _feature_table(encoder, vectors.rows[f"{level}_id"], vectors.raw, f"{level}_id")
    columns = {name: rows[name] for name in rows.column_names}
    return pa.table(columns | align(features, f"{level}_id", rows[f"{level}_id"]))


def _feature_table(
    encoder: StoredEncoder, ids: pa.ChunkedArray, raw: np.ndarray, key: str
) -> pa.Table:
    if not encoder.feature_names:
        column = pa.FixedSizeListArray.from_arrays(pa.array(raw.ravel()), encoder.dim)
        return pa.table({key: ids, "embedding": column})
    names = [f"{encoder.name}.{feature}" for feature in encoder.feature_names]
    return pa.table({key: ids, **dict(zip(names, raw.T, strict=True))})


def _patients(view: View, as_of: datetime | None) -> pa.Table:
    table = covariates(view, as_of)
    table = table.filter(pc.is_in(table["patient_id"], known_patients(view, as_of)))
    outcomes = view.sql(_OUTCOMES, as_of=as_of)
    columns = {name: table[name] for name in table.column_names}
    for endpoint in pc.unique(outcomes["endpoint"]).to_pylist():
        rows = outcomes.filter(pc.equal(outcomes["endpoint"], endpoint)).drop_columns(["endpoint"])
        for name, column in align(rows, "patient_id", table["patient_id"]).items():
            columns[f"{endpoint}.{name}"] = column
    return pa.table(columns)


def _slide_parts(
    view: View, encoder: StoredEncoder, as_of: datetime | None
) -> pa.RecordBatchReader:
    slides = view.sql(f"SELECT slide_id FROM slide WHERE {KNOWN}", as_of=as_of)["slide_id"]
    known = slides.combine_chunks()
    schema = view.vector_schema(encoder)
    # The row has its shape already.
    if encoder.level == "nucleus" and encoder.feature_names:
        schema = schema.remove(schema.get_field_index("vector"))
    names = ["embedding" if name == "vector" else name for name in schema.names]

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in view.scan(encoder, schema.names):
            yield batch.filter(pc.is_in(batch["slide_id"], known)).rename_columns(names)

    renamed = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    return pa.RecordBatchReader.from_batches(renamed, batches())
