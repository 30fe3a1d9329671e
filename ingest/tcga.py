"""Published TCGA tables and the LUNG1 table: outcomes, covariates and gene expression of cases.

Five layouts, told apart by their headers (docs/tcga.md has an example of each):

- `genes`: MCAT's tables, a .csv or a .csv.zip with one member: one row a slide, with outcome,
  covariates and GENE_rnaseq, GENE_cnv, GENE_mut columns.
- `survival`: SurvPath's metadata, one row a slide, with three endpoints.
- `stages`: SurvPath's clinical tables: case_id, stage, grade, subtype.
- `expression`: SurvPath's rna_clean.csv: the case in the unnamed first column, then genes.
- `lung1`: NSCLC-Radiomics: days, and deadstatus.event 1 = death.

In `genes` and `survival`, `censorship` is 1 where the case is censored and 0 where the event
happened, and times are months of 30.4375 days. Rows of one case must agree; the case is kept once.
Columns that follow from the outcome or describe the authors' runs (train, survival, image_path) are
left out.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.clinical import covariate_facts
from tumorbase.ingest.csv_table import CsvTable, parse_csv_table, read_csv_table
from tumorbase.ingest.genomics import (
    GENE_SUFFIXES,
    gene_columns,
    measured_columns,
    profile_rows,
    profile_vectors,
    read_signatures,
)
from tumorbase.ingest.item import Context, Item, ItemRows, Plan, Rejected
from tumorbase.ingest.metadata_rows import metadata_rows
from tumorbase.ingest.row_checks import RowChecks
from tumorbase.ingest.source_files import files_below
from tumorbase.store.errors import BadInput

DAYS_PER_MONTH = 30.4375
SIGNATURES = "signatures.csv"
# Endpoint -> its columns of months and of censorship.
ENDPOINTS = {
    "OS": ("survival_months", "censorship"),
    "DSS": ("survival_months_dss", "censorship_dss"),
    "PFI": ("survival_months_pfi", "censorship_pfi"),
}
_COVARIATES = ("age", "is_female", "site", "oncotree_code", "stage", "grade", "subtype")
_LUNG1_LEFT_OUT = ("", "PatientID", "Survival.time", "deadstatus.event", "image_path", "survival")
_NOT_OF_CASES = ("", "slide_id", "train")  # and pandas' row numbers
# What zipfile raises: RuntimeError of a password, NotImplementedError (one of it) of a method.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError)
_MAX_TABLE_BYTES = 1 << 30  # of an archive's member, so that a small file cannot fill the memory


def plan_tcga(paths: Sequence[Path]) -> Plan:
    """One item for each table; signatures.csv goes with the tables beside and one folder below it.

    Folders are searched through; folds (splits_K.csv) and gene groups are not tables of cases.
    """
    items, rejected = [], []
    for path in files_below(paths):
        if path.name.startswith("splits_") or path.name.endswith(SIGNATURES):
            continue
        if not path.name.endswith((".csv", ".csv.zip")):
            if path in paths:
                rejected.append(Rejected(str(path), "expected a .csv or .csv.zip"))
            continue
        table = path.resolve()
        signatures = [
            str(folder / SIGNATURES)
            for folder in (table.parent, table.parent.parent)
            if (folder / SIGNATURES).is_file()
        ]
        key = f"table:{table.parent.name}/{table.name}"
        items.append(Item("tcga_table", key, str(table), (str(table), *signatures[:1])))
    return Plan(tuple(items), tuple(rejected))


def read_tcga_table(item: Item, context: Context) -> ItemRows:
    """The cases of one table; its second file, if it has one, holds gene groups.

    Raises:
        BadInput: the file cannot be read, or its header is of no layout that the module lists.
    """
    table = _read_table(item.path)
    names = set(table.names)
    if {"PatientID", "Survival.time", "deadstatus.event"} <= names:
        return _read_lung1(table, context)
    if "case_id" in names and names & {*_COVARIATES, "censorship"}:
        return _read_cases(one_row_a_case(table), item, context)
    if table.names[0] == "" and len(names) > 1:
        return _read_expression(table, item, context)
    columns = ", ".join(table.names[:8])
    raise BadInput(item.path, f"expected a TCGA or LUNG1 table, got the columns {columns}")


def one_row_a_case(table: CsvTable) -> CsvTable:
    """The first row of each case; a later one that differs in more than its slide is rejected."""
    cases = table.column("case_id")
    _, firsts, case = np.unique(
        cases.to_numpy(zero_copy_only=False), return_index=True, return_inverse=True
    )
    first = firsts[case]  # row -> the case's first row
    differs = np.full(len(cases), "", dtype=object)
    for name in table.names:
        if name in _NOT_OF_CASES or name.startswith("Unnamed"):
            continue
        cells = table.column(name)
        is_other = pc.not_equal(cells, cells.take(pa.array(first)))
        differs[is_other.to_numpy(zero_copy_only=False) & (differs == "")] = name
    rejected = [
        Rejected(
            table.path,
            f"line {table.lines[row]}: differs in {differs[row]} from line "
            f"{table.lines[first[row]]} of the same case",
        )
        for row in np.flatnonzero(differs != "")
    ]
    is_first = first == np.arange(len(cases))
    return CsvTable(
        table.path,
        table.cells.filter(pa.array(is_first)),
        table.lines[is_first],
        (*table.rejected, *rejected),
    )


def _read_table(path: str) -> CsvTable:
    """The CSV at `path`, or the only member of the archive there.

    It is read as a stream: the member's own name, which may lead anywhere, is not used.
    """
    if not path.endswith(".zip"):
        return read_csv_table(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise BadInput(path, f"expected an archive of one table, got {len(members)}")
            if members[0].file_size > _MAX_TABLE_BYTES:
                raise BadInput(path, f"expected at most 1 GiB, got {members[0].file_size} bytes")
            with archive.open(members[0]) as stream:
                data = stream.read()
    except DAMAGED_ZIP as error:
        raise BadInput(path, f"cannot be read as a zip archive: {error}") from error
    return parse_csv_table(path, data)


def _read_cases(table: CsvTable, item: Item, context: Context) -> ItemRows:
    """Layouts `genes`, `survival` and `stages`: what is there of outcomes, covariates and genes."""
    checks = RowChecks(table)
    cases = checks.patients("case_id", context.known_patients)
    names = set(table.names)
    endpoints = {name: pair for name, pair in ENDPOINTS.items() if set(pair) <= names}
    outcomes = {name: _censored(checks, *pair) for name, pair in endpoints.items()}
    genes = [name for name in table.names if name.endswith(GENE_SUFFIXES)]
    measured = measured_columns(checks, genes)
    rows = _patients_with_facts(
        checks, cases, [name for name in _COVARIATES if name in names], outcomes
    )
    if genes:
        keep = checks.keep
        profiled = _profiles(item, context, cases.filter(pa.array(keep)), genes, measured[keep])
        rows.tables |= profiled.tables
        rows.vectors += profiled.vectors
        rows.rejected += profiled.rejected
    return rows


def _read_lung1(table: CsvTable, context: Context) -> ItemRows:
    checks = RowChecks(table)
    patients = checks.patients("PatientID", context.known_patients)
    checks.refuse_duplicates([patients], "patient")
    time_days = checks.numbers("Survival.time", is_required=True, lowest=0.0)
    outcomes = {"OS": (time_days, checks.flags("deadstatus.event"))}
    covariates = [name for name in table.names if name not in _LUNG1_LEFT_OUT]
    return _patients_with_facts(checks, patients, covariates, outcomes)


def _read_expression(table: CsvTable, item: Item, context: Context) -> ItemRows:
    checks = RowChecks(table)
    cases = checks.patients("", context.known_patients)
    checks.refuse_duplicates([cases], "case")
    genes, left_out = gene_columns(table, table.names[1:])
    measured = measured_columns(checks, genes)
    keep = checks.keep
    panel = [f"{gene}_rnaseq" for gene in genes]
    rows = _profiles(item, context, cases.filter(pa.array(keep)), panel, measured[keep])
    rows.rejected += [*checks.rejected, *left_out]
    return rows


def _censored(
    checks: RowChecks, months_column: str, censorship_column: str
) -> tuple[np.ndarray, np.ndarray]:
    """Days to the event or to censoring, NaN where not stated, and whether it happened."""
    months = checks.numbers(months_column, lowest=0.0)
    return months * DAYS_PER_MONTH, ~checks.flags(censorship_column)


def _patients_with_facts(
    checks: RowChecks,
    patients: pa.StringArray,
    covariates: list[str],
    outcomes: dict[str, tuple[np.ndarray, np.ndarray]],
) -> ItemRows:
    """Patients, facts and outcomes of the rows that hold up.

    Args:
        checks: done but for the covariates.
        patients: one a row, none twice.
        covariates: columns that become facts.
        outcomes: endpoint -> time in days, NaN if not stated, and whether the event happened.
    """
    facts = covariate_facts(checks, patients, covariates)
    keep = checks.keep
    outcome_rows = [
        metadata_rows(
            "outcome",
            {
                "patient_id": patients,
                "endpoint": [endpoint] * len(patients),
                "time_days": time_days,
                "is_event": is_event,
            },
            keep & np.isfinite(time_days),
        )
        for endpoint, (time_days, is_event) in outcomes.items()
    ]
    tables = {"patient": metadata_rows("patient", {"patient_id": patients}, keep), "fact": facts}
    if outcome_rows:
        tables["outcome"] = pa.concat_tables(outcome_rows)
    return ItemRows(tables, rejected=checks.rejected)


def _profiles(
    item: Item, context: Context, cases: pa.StringArray, panel: list[str], measured: np.ndarray
) -> ItemRows:
    """The cases' profiles and their vectors.

    Args:
        item: names the table, and the gene groups if it has any.
        context: of the run.
        cases: one a profile, none twice.
        panel: names of the columns.
        measured: float32 (cases, columns), NaN where missing.
    """
    groups = read_signatures(item.files[1]) if len(item.files) > 1 else {}
    source = Path(item.path).name.partition(".")[0]
    tables = profile_rows(source, cases, panel, measured, {})
    vectors, rejected = profile_vectors(
        tables["profile"], panel, measured, groups, item.path, context
    )
    return ItemRows(tables, vectors, rejected)
