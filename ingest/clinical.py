"""Clinical tables of a cohort folder: patients.csv, outcomes.csv, studies.csv and diagnoses.csv.

Each reader commits the rows that hold up and rejects the others by line and reason. Optional
columns `event_time` and `known_at` (dates) say of any row when it happened and when it became
known; where a table has a date of its own (`study_date`, `date`), that is the event time.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.csv_table import CsvTable, read_csv_table
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.metadata_rows import metadata_rows, unique_rows
from tumorbase.ingest.row_checks import (
    MISSING_CELLS,
    RowChecks,
    is_number_column,
)

TIME_COLUMNS = ("event_time", "known_at")
_ICD10CM = r"^[A-Z][0-9][A-Z0-9](\.?[A-Z0-9]{1,4})?$"


def read_patients_table(item: Item, context: Context) -> ItemRows:
    """patients.csv: patient_id, then covariates; each cell that is not empty becomes a fact.

    A covariate is a number where all cells of its column are, else a text. Rejected: an empty or
    repeated patient, NaN or infinity in a column of numbers, a bad time.

    Raises:
        BadInput: the file cannot be read or has no column patient_id.
    """
    table = read_csv_table(item.path)
    table.require(["patient_id"])
    checks = RowChecks(table)
    patients = checks.ids("patient_id")
    checks.refuse_duplicates([patients], "patient")
    names = [name for name in table.names if name not in ("patient_id", *TIME_COLUMNS)]
    facts = covariate_facts(checks, patients, names)
    patient_rows = metadata_rows("patient", {"patient_id": patients}, checks.keep)
    return ItemRows({"patient": patient_rows, "fact": facts}, rejected=checks.rejected)


def read_outcomes_table(item: Item, context: Context) -> ItemRows:
    """outcomes.csv: patient_id, endpoint, time_days, event (1 happened, 0 censored).

    Raises:
        BadInput: the file cannot be read or lacks one of these columns.
    """
    table = read_csv_table(item.path)
    table.require(["patient_id", "endpoint", "time_days", "event"])
    checks = RowChecks(table)
    patients = checks.patients("patient_id", context.known_patients)
    endpoints = checks.ids("endpoint")
    time_days = checks.numbers("time_days", is_required=True, lowest=0.0)
    is_event = checks.flags("event")
    times = {name: checks.times(name) for name in TIME_COLUMNS}
    checks.refuse_duplicates([patients, endpoints], "outcome of this patient and endpoint")
    outcomes = {
        "patient_id": patients,
        "endpoint": endpoints,
        "time_days": time_days,
        "is_event": is_event,
        **times,
    }
    return _rows(checks, patients, {"outcome": metadata_rows("outcome", outcomes, checks.keep)})


def read_studies_table(item: Item, context: Context) -> ItemRows:
    """studies.csv: patient_id, study_id, study_date (may be empty).

    Raises:
        BadInput: the file cannot be read or lacks one of these columns.
    """
    table = read_csv_table(item.path)
    table.require(["patient_id", "study_id", "study_date"])
    checks = RowChecks(table)
    patients = checks.patients("patient_id", context.known_patients)
    studies = {
        "patient_id": patients,
        "study_id": checks.ids("study_id"),
        "study_date": checks.times("study_date"),
        "known_at": checks.times("known_at"),
    }
    checks.refuse_duplicates([patients, studies["study_id"]], "study")
    return _rows(checks, patients, {"study": metadata_rows("study", studies, checks.keep)})


def read_diagnoses_table(item: Item, context: Context) -> ItemRows:
    """diagnoses.csv: patient_id, icd10cm (with or without its dot), date (may be empty).

    Raises:
        BadInput: the file cannot be read or lacks one of these columns.
    """
    table = read_csv_table(item.path)
    table.require(["patient_id", "icd10cm", "date"])
    checks = RowChecks(table)
    patients = checks.patients("patient_id", context.known_patients)
    codes = icd10cm_codes(checks, "icd10cm")
    dates = checks.times("date")
    known_at = checks.times("known_at")
    checks.refuse_duplicates([patients, codes, dates.cast(pa.string())], "diagnosis")
    diagnoses = {
        "patient_id": patients,
        "icd10cm": codes,
        "event_time": dates,
        "known_at": known_at,
    }
    return _rows(
        checks, patients, {"diagnosis": metadata_rows("diagnosis", diagnoses, checks.keep)}
    )


def covariate_facts(checks: RowChecks, patients: pa.StringArray, names: list[str]) -> pa.Table:
    """Facts of these columns, one for each cell that is not empty, with the row's times if any.

    All checks of the rows must be done before: facts of refused rows are left out.
    """
    times = {name: checks.times(name) for name in TIME_COLUMNS}
    values = {name: _covariate(checks, name) for name in names}
    facts = [metadata_rows("fact", {"patient_id": pa.array([], pa.string())})]
    for name, (column, cells) in values.items():
        named = pa.array([name] * len(cells), pa.string())
        rows = {"patient_id": patients, "name": named, column: cells, **times}
        facts.append(metadata_rows("fact", rows, checks.keep).filter(pc.field(column).is_valid()))
    return pa.concat_tables(facts)


def icd10cm_codes(checks: RowChecks, name: str) -> pa.StringArray:
    """ICD-10-CM codes in capitals with the dot after the third character, as in C34.11."""
    cells = pc.utf8_upper(checks.ids(name))
    is_code = pc.match_substring_regex(cells, _ICD10CM).to_numpy(zero_copy_only=False)
    checks.refuse(
        ~is_code,
        lambda row: f"{name} must be an ICD-10-CM code as in C34.11, got {cells[row].as_py()!r}",
    )
    return pc.replace_substring_regex(cells, r"^(...)\.?(.+)$", r"\1.\2")


def patient_ids(table: CsvTable) -> frozenset[str]:
    """All patients that a patients.csv names, also where the row is refused for another reason."""
    table.require(["patient_id"])
    return frozenset(table.column("patient_id").to_pylist()) - {""}


def _covariate(checks: RowChecks, name: str) -> tuple[str, pa.Array]:
    """The fact column a covariate goes to and its values, null where the cell says nothing."""
    cells = checks.table.column(name)
    missing = pa.array(["", *MISSING_CELLS])
    if is_number_column(cells):
        return "number", checks.numbers(name, missing=missing.to_pylist())
    checks.refuse_climbing(name, cells)
    return "text", pc.if_else(pc.is_in(cells, value_set=missing), None, cells)


def _rows(checks: RowChecks, patients: pa.StringArray, tables: dict[str, pa.Table]) -> ItemRows:
    """These rows, and one row for each patient that they name."""
    named = unique_rows(metadata_rows("patient", {"patient_id": patients}, checks.keep))
    return ItemRows({"patient": named, **tables}, rejected=checks.rejected)
