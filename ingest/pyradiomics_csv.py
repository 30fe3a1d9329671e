"""Features by pyradiomics: a case a row or, transposed, a case a column.

The command line of pyradiomics writes a row a case (Image, Mask, perhaps Patient, diagnostics_* and
original_shape_* ...); its baselines have features as rows (featureName) and cases as columns. The
features of a table go to an encoder named after the hash of their names, stored as they are; rows
that state other settings (diagnostics_Configuration_Settings) go to another version of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.csv_table import CsvTable, read_csv_table, read_header
from tumorbase.ingest.item import Context, Item, ItemRows, Plan, Rejected, VectorRows
from tumorbase.ingest.metadata_rows import metadata_rows, unique_rows
from tumorbase.ingest.row_checks import LARGEST_MEASURE, RowChecks, parse_numbers
from tumorbase.ingest.source_files import files_below
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import EncoderSpec, canonical
from tumorbase.store.errors import BadInput

TRANSPOSED = "featureName"
# Columns that may name the case and its patient, the first there is counts.
CASE_COLUMNS = ("lesion_id", "ID", "Case", "case", "Mask")
PATIENT_COLUMNS = (
    "patient_id",
    "PatientID",
    "Patient",
    "patient",
    "diagnostics_Configuration_TestCase",
)
_FILTERS = (
    "original_",
    "wavelet",
    "log-sigma",
    "square_",
    "squareroot_",
    "logarithm_",
    "exponential_",
    "gradient_",
    "lbp-",
)
_SETTINGS = "diagnostics_Configuration_Settings"
_CENTRE = "diagnostics_Mask-original_CenterOfMass"
# The widest extent of the lesion in one slice is what RECIST calls its long axis.
_MEASURES = {
    "volume_mm3": "original_shape_MeshVolume",
    "long_axis_mm": "original_shape_Maximum2DDiameterSlice",
}


def plan_pyradiomics(paths: Sequence[Path]) -> Plan:
    """One item for each table of features; folders are searched through."""
    items, rejected = [], []
    for path in files_below(paths):
        if path.suffix == ".csv" and _has_features(read_header(path)):
            table = path.resolve()
            key = f"table:{table.parent.name}/{table.name}"
            items.append(Item("pyradiomics_table", key, str(table), (str(table),)))
        elif path in paths:
            rejected.append(Rejected(str(path), "expected a CSV of pyradiomics features"))
    return Plan(tuple(items), tuple(rejected))


def read_pyradiomics_table(item: Item, context: Context) -> ItemRows:
    """Lesions and their features; lesion and study are named after the case.

    Rejected: a case named twice, and a feature that is empty, NaN or infinite.

    Raises:
        BadInput: the file cannot be read, or has no feature or no column that names the case.
    """
    table = read_csv_table(item.path)
    if TRANSPOSED in table.names:
        table = _upright(table)
    features = [name for name in table.names if name.startswith(_FILTERS)]
    if not features:
        raise BadInput(item.path, "expected features such as original_shape_MeshVolume, got none")
    checks = RowChecks(table)
    cases = checks.ids(_first_column(table, CASE_COLUMNS))
    patient_column = next((name for name in PATIENT_COLUMNS if name in table.names), None)
    patients = checks.patients(patient_column, context.known_patients) if patient_column else cases
    checks.refuse_duplicates([patients, cases], "case")
    measured = np.column_stack(
        [checks.numbers(name, is_required=True, largest=LARGEST_MEASURE) for name in features]
    )
    return _item_rows(checks, (cases, patients), features, measured, context)


def _has_features(header: Sequence[str]) -> bool:
    return TRANSPOSED in header or any(name.startswith(_FILTERS) for name in header)


def _upright(table: CsvTable) -> CsvTable:
    """A table of features as rows, turned so that each case is a row; its line is its column."""
    names = table.column(TRANSPOSED).to_pylist()
    if len(set(names)) != len(names):
        raise BadInput(table.path, f"{TRANSPOSED} names a feature twice")
    cases = [name for name in table.names if name != TRANSPOSED]
    columns = zip(*(table.column(case).to_pylist() for case in cases), strict=True)
    cells = {"case": cases} | {
        name: list(values) for name, values in zip(names, columns, strict=True)
    }
    upright = pa.table({name: pa.array(values, pa.string()) for name, values in cells.items()})
    lines = np.array([table.names.index(case) + 1 for case in cases], dtype=np.int64)
    return CsvTable(table.path, upright, lines, table.rejected, "column")


def _first_column(table: CsvTable, names: Sequence[str]) -> str:
    for name in names:
        if name in table.names:
            return name
    raise BadInput(table.path, f"header lacks a column of cases: one of {', '.join(names)}")


def _item_rows(
    checks: RowChecks,
    ids: tuple[pa.StringArray, pa.StringArray],
    features: Sequence[str],
    measured: np.ndarray,
    context: Context,
) -> ItemRows:
    """Rows of the lesions that hold up.

    Args:
        checks: of the table, all done.
        ids: case and patient of each row.
        features: names of the columns of `measured`.
        measured: float64 (rows, features).
        context: of the run.
    """
    cases, patients = ids
    source = Path(checks.table.path).name.partition(".")[0]
    positions = _centres_mm(checks.table)
    lesions = {
        "lesion_id": pa.array([f"{source}/{case}" for case in cases.to_pylist()], pa.string()),
        "patient_id": patients,
        "study_id": patients,
        "region": ["primary"] * len(cases),
        "x_mm": positions[:, 0],
        "y_mm": positions[:, 1],
        "z_mm": positions[:, 2],
    }
    for column, feature in _MEASURES.items():
        if feature in features:
            lesions[column] = measured[:, features.index(feature)]
    keep = checks.keep
    rows = metadata_rows("lesion", lesions, keep)
    tables = {
        "patient": unique_rows(rows.select(["patient_id"])),
        "study": unique_rows(
            metadata_rows("study", {"patient_id": patients, "study_id": patients}, keep)
        ),
        "lesion": rows,
    }
    settings = checks.optional_texts(_SETTINGS).filter(pa.array(keep))
    vectors = [
        _staged(context, rows.filter(mask), features, measured[keep][mask], text)
        for text, mask in _each_value(settings)
    ]
    return ItemRows(tables, vectors, checks.rejected)


def _centres_mm(table: CsvTable) -> np.ndarray:
    """Centres of mass in LPS (SimpleITK's physical space), float64 (rows, 3), NaN if not stated."""
    centres = np.full((len(table.lines), 3), np.nan)
    if _CENTRE in table.names:
        cells = pc.replace_substring_regex(table.column(_CENTRE), r"[()\s]", "")
        parts = pc.split_pattern(cells, ",")
        is_point = pc.equal(pc.list_value_length(parts), 3).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(parts.filter(pa.array(is_point)))
        centres[is_point] = parse_numbers(flat).reshape(-1, 3)
    return centres


def _each_value(cells: pa.StringArray) -> Iterator[tuple[str, np.ndarray]]:
    """Each value with the rows that have it, bool (rows,); "" for those that have none."""
    texts = np.array(cells.fill_null("").to_pylist(), dtype=object)
    for text in dict.fromkeys(texts):
        yield text, texts == text


def _staged(
    context: Context, rows: pa.Table, features: Sequence[str], measured: np.ndarray, settings: str
) -> VectorRows:
    digest = hashlib.sha256("\n".join(features).encode()).hexdigest()
    spec = EncoderSpec(
        name=f"pyradiomics-{digest[:8]}",
        version="1",
        level="lesion",
        dim=len(features),
        weights_sha256=hashlib.sha256(b"").hexdigest(),  # it has none
        preprocessing=canonical({"features": list(features), "settings": settings}),
        is_standardised=True,
        feature_names=tuple(features),
    )
    columns = {name: rows[name] for name in ("lesion_id", "patient_id")}
    return stage(context, spec, [vector_batch(spec, columns, measured.astype(np.float32))])
