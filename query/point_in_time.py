"""What was known at a time: the one predicate that keeps later facts out."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from tumorbase.store.view import View

# Both times count: what happened before a date but was learned after it was not known at that date.
# (DuckDB's ASOF JOIN takes one inequality and breaks ties as it likes, so it cannot say this.)
KNOWN = "($as_of IS NULL OR (event_time <= $as_of AND known_at <= $as_of))"

# A patient of whom nothing was known yet was not known either. Who is merely named is known since
# the commit that named it, and a study from its own date on.
_KNOWN_PATIENTS = " UNION ".join(
    [
        *(
            f"SELECT patient_id FROM {table} WHERE {KNOWN}"
            for table in ("fact", "outcome", "diagnosis", "lesion", "series", "slide", "profile")
        ),
        "SELECT patient_id FROM study WHERE study_date <= $as_of AND known_at <= $as_of",
        "SELECT patient_id FROM main.patient JOIN visible USING (commit_id)"
        " WHERE $as_of IS NULL OR committed_at <= $as_of",
    ]
)


def known_patients(view: View, as_of: datetime | None) -> pa.Array:
    """Ids of the patients of whom anything was known at `as_of`, of all for None; ascending."""
    found = view.sql(f"SELECT * FROM ({_KNOWN_PATIENTS}) ORDER BY patient_id", as_of=as_of)
    return found["patient_id"].combine_chunks()


def in_utc(as_of: datetime | None) -> datetime | None:
    """The time as the store has its own: UTC, without a zone; a time without one is UTC."""
    if as_of is None or as_of.tzinfo is None:
        return as_of
    return as_of.astimezone(UTC).replace(tzinfo=None)
