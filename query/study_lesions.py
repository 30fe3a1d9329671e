"""The lesions of each study, each counted once, however often it was drawn and measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.models.lesion_assignment import GENERIC_REGIONS, NODE
from tumorbase.models.measured_lesions import DrawnLesions, MeasuredLesions, match_measured
from tumorbase.store.view import View

Lesion = dict[str, Any]  # a row of `study_lesions`
MEASUREMENT = "measurement"  # the encoder of place and axes, whose vectors measured rows have too

_STUDY_LESIONS = """
WITH counted AS (
    SELECT patient_id, study_id, series_id, count(*) AS lesions
    FROM lesion WHERE series_id IS NOT NULL GROUP BY ALL
), scan AS (
    SELECT series_id, bool_or(modality = 'PT') AS is_pet, min(spacing_z_mm) AS spacing_z_mm
    FROM series GROUP BY ALL
), chosen AS (
    SELECT patient_id, study_id, series_id, spacing_z_mm
    FROM counted LEFT JOIN scan USING (series_id)
    QUALIFY row_number() OVER (
        PARTITION BY patient_id, study_id
        ORDER BY coalesce(is_pet, false), lesions DESC, spacing_z_mm NULLS LAST, series_id) = 1
)
SELECT l.*, c.spacing_z_mm, s.study_date,
    dense_rank() OVER (
        PARTITION BY l.patient_id ORDER BY s.study_date NULLS LAST, l.study_id) AS study_number
FROM lesion l
LEFT JOIN chosen c ON c.patient_id = l.patient_id AND c.study_id = l.study_id
LEFT JOIN study s ON s.patient_id = l.patient_id AND s.study_id = l.study_id
WHERE l.series_id IS NULL OR l.series_id = c.series_id
ORDER BY l.patient_id, study_number, l.lesion_id
"""
_POSITION = ("x_mm", "y_mm", "z_mm")
_BOX = ("x_min_mm", "y_min_mm", "z_min_mm", "x_max_mm", "y_max_mm", "z_max_mm")


def study_lesions(view: View) -> pa.Table:
    """Lesion rows with `study_date` and `study_number`, ordered by patient, study and lesion id;
    `spacing_z_mm` is that of the slices which they were drawn on, if any of the study's were.

    Of several series of one study the one with the most lesions counts; at a tie, the one with the
    thinnest slices; PET only where nothing else was drawn on, for RECIST 1.1 measures none in it.
    Studies are numbered from 1 within their patient, by date and then by id.

    A lesion that is both measured (a row without a series, as of lesions.csv) and drawn in the
    series that counts is one (`match_measured`): the measured row stays, and what it does not say,
    such as the volume, is that of the drawn one. `vector_id` is the lesion whose image vectors are
    its own: the drawn one, else itself. What is only measured, or only drawn, stays as it is.
    """
    lesions = view.sql(_STUDY_LESIONS)
    return _merged(lesions, _measured_and_drawn(lesions))


def region_of(lesion: Lesion) -> str:
    """The region in lower case, "node" for any sort of node, "" if unknown."""
    return _region(lesion["region"])


def _region(stated: str | None) -> str:
    region = (stated or "").lower()
    return NODE if NODE in region else region


def _measured_and_drawn(lesions: pa.Table) -> list[tuple[int, int]]:
    """Rows (measured, drawn) that are one lesion."""
    studies = defaultdict[tuple[str, str], tuple[list[int], list[int]]](lambda: ([], []))
    names = ("patient_id", "study_id", "series_id")
    rows = zip(*(lesions[name].to_pylist() for name in names), strict=True)
    for row, (patient_id, study_id, series_id) in enumerate(rows):
        studies[patient_id, study_id][series_id is not None].append(row)
    position_mm, box_mm = _numbers(lesions, _POSITION), _numbers(lesions, _BOX).reshape(-1, 2, 3)
    (long_axis_mm,) = _numbers(lesions, ("long_axis_mm",)).T
    regions = [_region(stated) for stated in lesions["region"].to_pylist()]
    pairs = []
    for measured, drawn in studies.values():
        if not measured or not drawn:
            continue
        found = match_measured(
            MeasuredLesions(
                position_mm[measured],
                long_axis_mm[measured],
                tuple(regions[row] for row in measured),
            ),
            DrawnLesions(box_mm[drawn], long_axis_mm[drawn], tuple(regions[row] for row in drawn)),
        )
        pairs += [(measured[one], drawn[other]) for one, other in found]
    return pairs


def _merged(lesions: pa.Table, pairs: Sequence[tuple[int, int]]) -> pa.Table:
    """The rows without the drawn ones of `pairs`, which complete the measured ones."""
    drawn_row = np.full(lesions.num_rows, -1)
    for measured, drawn in pairs:
        drawn_row[measured] = drawn
    drawn = lesions.take(pa.array(drawn_row, mask=drawn_row < 0))  # null where there is none
    columns = {name: pc.coalesce(lesions[name], drawn[name]) for name in lesions.column_names}
    is_generic = pc.is_in(
        pc.utf8_lower(lesions["region"]), value_set=pa.array(sorted(GENERIC_REGIONS))
    )
    columns["region"] = pc.coalesce(
        pc.if_else(is_generic, drawn["region"], lesions["region"]), lesions["region"]
    )
    columns["vector_id"] = pc.coalesce(drawn["lesion_id"], lesions["lesion_id"])
    is_merged = np.isin(np.arange(lesions.num_rows), drawn_row)
    return pa.table(columns).filter(pa.array(~is_merged))


def _numbers(lesions: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Columns as float64 (rows, columns), NaN where null."""
    columns = [pc.fill_null(lesions[name].cast(pa.float64()), np.nan) for name in names]
    return np.column_stack([column.to_numpy() for column in columns])
