"""What was known at a time: the one predicate that keeps later facts out."""

from __future__ import annotations

# Both times count: what happened before a date but was learned after it was not known at that date.
# (DuckDB's ASOF JOIN takes one inequality and breaks ties as it likes, so it cannot say this.)
KNOWN = "($as_of IS NULL OR (event_time <= $as_of AND known_at <= $as_of))"
