"""The metadata tables in DuckDB: their definition, and what of them a commit can see."""

from __future__ import annotations

import re

import pyarrow as pa

from tumorbase.store.schema import METADATA

CATALOGUE = """
CREATE TABLE commits (
    commit_id BIGINT, item_key VARCHAR, kind VARCHAR, path VARCHAR, fingerprint VARCHAR,
    run_id VARCHAR, committed_at TIMESTAMP, superseded_by BIGINT, table_rows JSON
);
CREATE TABLE commit_vectors (
    commit_id BIGINT, level VARCHAR, encoder_id VARCHAR, vector_rows BIGINT, checksum BIGINT,
    mean DOUBLE[], squared_deviations DOUBLE[]
);
CREATE TABLE encoders (
    encoder_id VARCHAR, name VARCHAR, version VARCHAR, level VARCHAR, dim INTEGER,
    weights_sha256 VARCHAR, preprocessing VARCHAR, is_standardised BOOLEAN,
    feature_names VARCHAR[], artefact BLOB
);
CREATE TABLE runs (
    run_id VARCHAR, started_at TIMESTAMP, finished_at TIMESTAMP, summary JSON
);
CREATE TABLE quarantine (run_id VARCHAR, path VARCHAR, reason VARCHAR, quarantined_at TIMESTAMP);
CREATE TABLE snapshots (name VARCHAR, commit_id BIGINT, created_at TIMESTAMP);
CREATE TABLE models (
    commit_id BIGINT, name VARCHAR, kind VARCHAR, content BLOB, details JSON
);
"""

# The one rule of what a commit sees, for every query that joins `main.commits c`.
IS_VISIBLE = "c.commit_id <= $commit AND (c.superseded_by IS NULL OR c.superseded_by > $commit)"

_VISIBLE = f"""visible AS (
    SELECT commit_id, committed_at, ends_with(kind, '_table') AS is_table
    FROM main.commits c WHERE {IS_VISIBLE}
)"""

# What is read under each name. A fact that states no time is known since its commit, not before.
_TIMED = """SELECT t.* EXCLUDE (commit_id, event_time, known_at),
        coalesce(t.event_time, t.known_at, v.committed_at) AS event_time,
        coalesce(t.known_at, t.event_time, v.committed_at) AS known_at
    FROM main.{table} t JOIN visible v USING (commit_id)"""
# What is of a study and states no time has that of the study, and none is known before its study.
_OF_STUDY = """SELECT t.* EXCLUDE (commit_id, event_time, known_at),
        coalesce(t.event_time, s.study_date, t.known_at, v.committed_at) AS event_time,
        coalesce(
            t.known_at,
            greatest(t.event_time, CASE WHEN s.study_date IS NOT NULL THEN s.known_at END),
            s.known_at,
            v.committed_at) AS known_at
    FROM main.{table} t JOIN visible v USING (commit_id)
    LEFT JOIN study s ON s.patient_id = t.patient_id AND s.study_id = t.study_id"""
_READ = {
    "patient": "SELECT DISTINCT patient_id FROM main.patient JOIN visible USING (commit_id)",
    "panel": "SELECT DISTINCT panel_id, columns FROM main.panel JOIN visible USING (commit_id)",
    # A study is named by its images and by tables. Both times are those of one row: of a table with
    # a date, else of a header; of several the latest date, and of one date the latest known_at.
    "study": """SELECT t.patient_id, t.study_id, t.study_date,
        coalesce(t.known_at, t.study_date, v.committed_at) AS known_at
    FROM main.study t JOIN visible v USING (commit_id)
    QUALIFY row_number() OVER (
        PARTITION BY t.patient_id, t.study_id
        ORDER BY (v.is_table AND t.study_date IS NOT NULL) DESC, t.study_date DESC NULLS LAST,
            t.known_at DESC NULLS LAST, t.commit_id) = 1""",
    "series": _OF_STUDY.format(table="series"),
    "lesion": _OF_STUDY.format(table="lesion"),
    # Features and nuclei name a slide too; the row of the slide itself goes before theirs.
    "slide": _TIMED.format(table="slide")
    + """ QUALIFY row_number() OVER (
        PARTITION BY slide_id ORDER BY t.width_px IS NULL, t.path IS NULL, t.commit_id) = 1""",
}

_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us"): "TIMESTAMP",
    pa.list_(pa.float32()): "FLOAT[]",
    pa.list_(pa.string()): "VARCHAR[]",
}


def create_tables() -> str:
    """The statements that make all tables of an empty store."""
    tables = [
        f"CREATE TABLE {name} (commit_id BIGINT, "
        + ", ".join(f"{column.name} {_SQL_TYPES[column.type]}" for column in schema)
        + ");"
        for name, schema in METADATA.items()
    ]
    return CATALOGUE + "\n".join(tables)


def visible_query(query: str) -> str:
    """`query` over the tables of METADATA as the commit `$commit` sees them."""
    named = {name for name in METADATA if re.search(rf"\b{name}\b", query)}
    if named & {"series", "lesion"}:
        named.add("study")
    parts = [
        f"{name} AS ({_READ.get(name) or _TIMED.format(table=name)})"
        for name in METADATA
        if name in named
    ]
    # study is defined before series and lesion, which read it: METADATA lists it first.
    return f"WITH {', '.join([_VISIBLE, *parts])} SELECT * FROM ({query})"
