"""The lesions of each study, each counted once where a study was reconstructed several times."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tumorbase.models.lesion_assignment import NODE
from tumorbase.store.view import View

Lesion = dict[str, Any]  # a row of `study_lesions`

_STUDY_LESIONS = """
WITH counted AS (
    SELECT patient_id, study_id, coalesce(series_id, '') AS series_key, count(*) AS lesions
    FROM lesion GROUP BY ALL
), spacing AS (
    SELECT series_id AS series_key, min(spacing_z_mm) AS spacing_z_mm FROM series GROUP BY ALL
), chosen AS (
    SELECT patient_id, study_id, series_key FROM counted LEFT JOIN spacing USING (series_key)
    QUALIFY row_number() OVER (
        PARTITION BY patient_id, study_id
        ORDER BY lesions DESC, spacing_z_mm NULLS LAST, series_key) = 1
)
SELECT l.*, s.study_date,
    dense_rank() OVER (
        PARTITION BY l.patient_id ORDER BY s.study_date NULLS LAST, l.study_id) AS study_number
FROM lesion l
JOIN chosen c ON c.patient_id = l.patient_id AND c.study_id = l.study_id
    AND c.series_key = coalesce(l.series_id, '')
LEFT JOIN study s ON s.patient_id = l.patient_id AND s.study_id = l.study_id
ORDER BY l.patient_id, study_number, l.lesion_id
"""


def study_lesions(view: View) -> pa.Table:
    """Lesion rows with `study_date` and `study_number`, ordered by patient, study and lesion id.

    Of several series of one study the one with the most lesions counts; at a tie, the one with the
    thinnest slices. Studies are numbered from 1 within their patient, by date and then by id.
    """
    return view.sql(_STUDY_LESIONS)


def region_of(lesion: Lesion) -> str:
    """The region in lower case, "node" for any sort of node, "" if unknown."""
    region = (lesion["region"] or "").lower()
    return NODE if NODE in region else region
