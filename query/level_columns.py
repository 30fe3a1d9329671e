"""The columns of each level that filters and answers use: its own, and its patients' covariates."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.query.point_in_time import KNOWN
from tumorbase.store.schema import ID_COLUMN
from tumorbase.store.view import View

# Levels whose rows are described in a metadata table as well.
_DESCRIBED = {"lesion", "slide", "profile", "series"}
# The latest fact of each name; of one restated for the same time, what was learned last.
_FACTS = f"""
SELECT patient_id, name, number, text,
    name NOT IN (SELECT name FROM fact WHERE number IS NULL AND {KNOWN}) AS is_number
FROM fact WHERE {KNOWN}
QUALIFY row_number() OVER (
    PARTITION BY patient_id, name ORDER BY event_time DESC, known_at DESC, number, text) = 1
ORDER BY name
"""
_PATIENTS = "SELECT patient_id FROM patient ORDER BY patient_id"


def describe_rows(view: View, level: str, rows: pa.Table) -> pa.Table:
    """`rows` of a vector table with all that is known of them, in the same order."""
    columns = align(covariates(view), "patient_id", rows["patient_id"])
    columns |= {name: rows[name] for name in rows.column_names}
    if level in _DESCRIBED:
        described = view.table(level)
        if level == "lesion":
            described = with_body_part(view, described)
        columns |= align(described, ID_COLUMN[level], rows[ID_COLUMN[level]])
    return pa.table(columns)  # a level's own column goes before a covariate's


def with_body_part(view: View, lesions: pa.Table) -> pa.Table:
    """Rows of the lesion table, `body_part` being the score by the regressor that ran last.

    Scores of different regressors have different zeros and units, and are not mixed.
    """
    encoders = view.encoders("body_part")
    if not encoders:
        return lesions
    vectors = view.vectors(encoders[-1])
    scores = pa.array(vectors.raw[:, 0].astype(np.float64))
    table = pa.table({"lesion_id": vectors.rows["lesion_id"], "body_part": scores})
    found = align(table, "lesion_id", lesions["lesion_id"])
    place = lesions.schema.get_field_index("body_part")
    return lesions.set_column(place, "body_part", found["body_part"])


def covariates(view: View, as_of: datetime | None = None) -> pa.Table:
    """One row a patient and one column a covariate: its latest value known by then, else null.

    A covariate is a number if nothing but numbers was known of it by then, else text. Rows are in
    the order of the patients' ids.
    """
    if as_of is None:
        return view.remembered("covariates", lambda: _covariates(view, None))
    return _covariates(view, as_of)


def _covariates(view: View, as_of: datetime | None) -> pa.Table:
    patients = view.sql(_PATIENTS)["patient_id"]
    facts = view.sql(_FACTS, as_of=as_of)
    columns: dict[str, pa.ChunkedArray | pa.Array] = {"patient_id": patients}
    for name in pc.unique(facts["name"]).to_pylist():
        values = facts.filter(pc.equal(facts["name"], name))
        column = values["number"] if values["is_number"][0].as_py() else _as_text(values)
        of_name = pa.table({"patient_id": values["patient_id"], name: column})
        columns |= align(of_name, "patient_id", patients)
    return pa.table(columns)


def align(table: pa.Table, key: str, wanted: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """Columns of `table` at the rows of the wanted keys, null where it has no such row."""
    place = pc.index_in(wanted, value_set=table[key].combine_chunks()).combine_chunks()
    taken = table.drop_columns([key]).combine_chunks().take(place)
    return {name: taken[name] for name in taken.column_names}


def _as_text(values: pa.Table) -> pa.ChunkedArray:
    return pc.coalesce(values["text"], pc.cast(values["number"], pa.string()))
