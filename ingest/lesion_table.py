"""lesions.csv of a cohort folder: lesions of which only position and RECIST axes are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.chosen_encoders import chosen_encoder
from tumorbase.ingest.csv_table import read_csv_table
from tumorbase.ingest.item import Context, Item, ItemRows, VectorRows
from tumorbase.ingest.metadata_rows import metadata_rows, unique_rows
from tumorbase.ingest.row_checks import LARGEST_MEASURE, RowChecks
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.lesion_crop import LesionMeasure

COLUMNS = (
    "lesion_id",
    "patient_id",
    "study_id",
    "study_date",
    "x_mm",
    "y_mm",
    "z_mm",
    "long_axis_mm",
    "short_axis_mm",
)
ENCODER = "measurement"


def read_lesions_table(item: Item, context: Context) -> ItemRows:
    """lesions.csv: `COLUMNS`, and if there are `type`, `region`, `known_at`.

    The region is `region`, else `type`, else "primary". Positions are LPS millimetres; positions,
    axes and dates may be empty. A long axis of 0 says that the lesion is gone in that study.

    Raises:
        BadInput: the file cannot be read or lacks one of `COLUMNS`.
    """
    table = read_csv_table(item.path)
    table.require(COLUMNS)
    checks = RowChecks(table)
    lesions = {
        "lesion_id": checks.ids("lesion_id"),
        "patient_id": checks.patients("patient_id", context.known_patients),
        "study_id": checks.ids("study_id"),
        "type": checks.optional_texts("type"),
        **{
            name: checks.numbers(name, largest=LARGEST_MEASURE)
            for name in ("x_mm", "y_mm", "z_mm", "long_axis_mm", "short_axis_mm")
        },
        "event_time": checks.times("study_date"),
        "known_at": checks.times("known_at"),
    }
    lesions["region"] = pc.coalesce(checks.optional_texts("region"), lesions["type"], "primary")
    _check_axes(checks, lesions["long_axis_mm"], lesions["short_axis_mm"])
    checks.refuse_duplicates([lesions["lesion_id"]], "lesion_id")
    _check_study_dates(checks, lesions)
    return _item_rows(checks, lesions, context)


def measurement_vectors(lesions: pa.Table, context: Context) -> list[VectorRows]:
    """Staged vectors of rows of `METADATA["lesion"]` by "measurement", if the run wants it.

    A lesion with an axis of 0 is gone and has no vector.
    """
    is_gone = pc.or_kleene(*(pc.equal(lesions[n], 0) for n in ("long_axis_mm", "short_axis_mm")))
    lesions = lesions.filter(pc.invert(is_gone.fill_null(False)))
    encoder = chosen_encoder(context, ENCODER)
    if lesions.num_rows == 0 or not encoder:
        return []
    names = ("x_mm", "y_mm", "z_mm", "long_axis_mm", "short_axis_mm")
    measured = [lesions[name].fill_null(np.nan).to_pylist() for name in names]
    vectors = encoder.encode([LesionMeasure(*values) for values in zip(*measured, strict=True)])
    columns = {name: lesions[name] for name in ("lesion_id", "patient_id")}
    return [stage(context, encoder.spec, [vector_batch(encoder.spec, columns, vectors)])]


def _check_axes(checks: RowChecks, long_mm: np.ndarray, short_mm: np.ndarray) -> None:
    """Refuse negative axes, and a short axis without a long one. Both 0: the lesion is gone."""
    shorter_mm = np.fmin(long_mm, short_mm)
    checks.refuse(
        shorter_mm < 0,
        lambda row: f"long_axis_mm and short_axis_mm must be at least 0, got {shorter_mm[row]:g}",
    )
    checks.refuse(
        short_mm > long_mm,
        lambda row: (
            f"short_axis_mm must not exceed long_axis_mm {long_mm[row]:g}, got {short_mm[row]:g}"
        ),
    )


def _check_study_dates(checks: RowChecks, lesions: dict[str, pa.Array]) -> None:
    """Refuse a row that dates its study otherwise than the study's first row that has a date."""
    study = pc.binary_join_element_wise(lesions["patient_id"], lesions["study_id"], "\x1f")
    dates = lesions["event_time"]
    is_dated = checks.keep & dates.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(is_dated)
    if not len(rows):
        return
    codes = pc.dictionary_encode(study.take(pa.array(rows))).indices.to_numpy()
    _, first, code = np.unique(codes, return_index=True, return_inverse=True)
    earlier = np.arange(len(dates))
    earlier[rows] = rows[first[code]]
    micros = dates.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    lines = checks.table.lines
    checks.refuse(
        is_dated & (micros != micros[earlier]),
        lambda row: f"study_date differs from that of the same study on line {lines[earlier[row]]}",
    )


def _item_rows(checks: RowChecks, lesions: dict[str, pa.Array], context: Context) -> ItemRows:
    rows = metadata_rows("lesion", lesions, checks.keep)
    patients = metadata_rows("patient", {"patient_id": lesions["patient_id"]}, checks.keep)
    tables = {
        "patient": unique_rows(patients),
        "study": _studies(rows),
        "lesion": rows,
    }
    return ItemRows(tables, measurement_vectors(rows, context), checks.rejected)


def _studies(lesions: pa.Table) -> pa.Table:
    """One row for each study with its date; when its lesions were known says nothing of it."""
    ids = ["patient_id", "study_id"]
    dated = lesions.group_by(ids, use_threads=False).aggregate([("event_time", "min")])
    columns = {name: dated[name] for name in ids}
    return metadata_rows("study", {**columns, "study_date": dated["event_time_min"]})
