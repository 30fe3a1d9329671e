"""DeepLesion tables: the official DL_info.csv, or annotation tables derived from it.

The derived tables (Volume_fn, centroid_x ...) are those of the foundation model for cancer imaging
biomarkers. What to know of both:

- pixel and slice coordinates count from 1; positions here are mm from the centre of the first voxel
  of the sub-volume (the slices that DeepLesion publishes around a lesion), x along columns, y along
  rows, z along slices. DeepLesion has no patient space, so positions compare within a sub-volume.
- the derived type is the official one minus 1; -1 is unknown in both.
- the derived coordX and coordY are swapped (and floored), and not read.
- axes are mm in the derived table and pixels in the official one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.csv_table import CsvTable, read_csv_table, read_header
from tumorbase.ingest.deeplesion_types import UNKNOWN, region_of_type
from tumorbase.ingest.item import Context, Item, ItemRows, Plan, Rejected
from tumorbase.ingest.key_slices import plan_key_slices
from tumorbase.ingest.lesion_table import measurement_vectors
from tumorbase.ingest.metadata_rows import metadata_rows, unique_rows
from tumorbase.ingest.row_checks import LARGEST_MEASURE, RowChecks, parse_numbers
from tumorbase.ingest.source_files import files_below
from tumorbase.store.errors import BadInput

DERIVED_COLUMNS = (
    "Volume_fn",
    "Coarse_lesion_type",
    "Patient_gender",
    "Patient_age",
    "bbox",
    "centroid_x",
    "centroid_y",
    "centroid_z",
    "lesion_diameters_x",
    "lesion_diameters_y",
    "spacing_x",
    "spacing_y",
    "spacing_z",
)
OFFICIAL_COLUMNS = (
    "File_name",
    "Key_slice_index",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Coarse_lesion_type",
    "Slice_range",
    "Spacing_mm_px_",
    "Patient_gender",
    "Patient_age",
)
_VOLUME = r"^\d{6}_\d{2}_\d{2}_\d+-\d+\.nii\.gz$"
_SLICE = r"^\d{6}_\d{2}_\d{2}_\d+\.png$"


def plan_deeplesion(paths: Sequence[Path]) -> Plan:
    """Tables first, then key slices (a .jpg with its .tru); folders are searched through."""
    files = files_below(paths)
    tables = [path for path in files if path.suffix == ".csv" and _layout(read_header(path))]
    items = [
        Item("deeplesion_table", f"table:{path.parent.name}/{path.name}", str(path), (str(path),))
        for path in (table.resolve() for table in tables)
    ]
    slices = plan_key_slices([path for path in files if path.suffix in (".jpg", ".tru")])
    rejected = list(slices.rejected)
    if not items and not slices.items and not rejected:
        reason = "expected DL_info.csv, tables derived from it or key slices with .tru files"
        rejected = [Rejected(str(path), reason) for path in paths]
    return Plan((*items, *slices.items), tuple(rejected))


def read_deeplesion_table(item: Item, context: Context) -> ItemRows:
    """A table of lesions: `OFFICIAL_COLUMNS` or `DERIVED_COLUMNS`, all rows at once.

    A lesion is called after its row in DL_info.csv, counted from 0: deeplesion/00012. Sex and age
    of a patient are those of the first row.

    Raises:
        BadInput: the file cannot be read or is of neither layout.
    """
    table = read_csv_table(item.path)
    layout = _layout(table.names)
    if layout is None:
        table.require(OFFICIAL_COLUMNS)
    checks = RowChecks(table)
    lesions, spacing_mm = _official(checks) if layout == "official" else _derived(checks)
    checks.refuse_duplicates([lesions["lesion_id"]], "row of DL_info.csv")
    return _item_rows(checks, lesions, spacing_mm, context)


def _layout(names: Sequence[str]) -> str | None:
    if set(OFFICIAL_COLUMNS) <= set(names):
        return "official"
    return "derived" if set(DERIVED_COLUMNS) <= set(names) else None


def _derived(checks: RowChecks) -> tuple[dict[str, pa.Array | np.ndarray], np.ndarray]:
    """Columns of the lesion table, and the spacing (rows, 3) in mm as (x, y, z)."""
    volumes = _matching(checks, "Volume_fn", _VOLUME)
    spacing_mm = _stacked(checks, ("spacing_x", "spacing_y", "spacing_z"))
    _check_spacing(checks, spacing_mm)
    centroid = _stacked(checks, ("centroid_x", "centroid_y", "centroid_z"))
    axes_mm = _stacked(checks, ("lesion_diameters_x", "lesion_diameters_y"))
    types = checks.numbers("Coarse_lesion_type", is_required=True)
    numbers = checks.numbers(_row_number_column(checks.table), is_required=True, lowest=0.0)
    lesions = {
        **_ids(volumes, numbers),
        **_placed(centroid - 1.0, _number_lists(checks, "bbox", 4) - 1.0, spacing_mm),
        **_axes(checks, axes_mm),
        **_regions(checks, np.where(types == UNKNOWN, UNKNOWN, types + 1)),
    }
    return lesions, spacing_mm


def _official(checks: RowChecks) -> tuple[dict[str, pa.Array | np.ndarray], np.ndarray]:
    """As `_derived`; the position is the middle of the box, which pads the RECIST mark evenly."""
    slices = _matching(checks, "File_name", _SLICE)
    spacing_mm = _number_lists(checks, "Spacing_mm_px_", 3)
    _check_spacing(checks, spacing_mm)
    box_px = _number_lists(checks, "Bounding_boxes", 4)
    slice_range = _number_lists(checks, "Slice_range", 2)
    key_slice = checks.numbers("Key_slice_index", is_required=True, lowest=1.0)
    checks.refuse(
        (key_slice < slice_range[:, 0]) | (key_slice > slice_range[:, 1]),
        lambda row: f"Key_slice_index {key_slice[row]:g} is not in Slice_range",
    )
    centre = np.column_stack(
        [(box_px[:, 0] + box_px[:, 2]) / 2 - 1, (box_px[:, 1] + box_px[:, 3]) / 2 - 1]
    )
    centre = np.column_stack([centre, key_slice - slice_range[:, 0]])  # (rows, 3)
    axes_mm = _number_lists(checks, "Lesion_diameters_Pixel_", 2) * spacing_mm[:, :1]
    types = checks.numbers("Coarse_lesion_type", is_required=True)
    lesions = {
        **_ids(slices, checks.table.lines - 2),
        **_placed(centre, box_px - 1.0, spacing_mm),
        **_axes(checks, axes_mm),
        **_regions(checks, types),
    }
    return lesions, spacing_mm


def _row_number_column(table: CsvTable) -> str:
    """The column of DL_info row numbers: unnamed, or called so by pandas."""
    for name in ("", "Unnamed: 0"):
        if name in table.names:
            return name
    raise BadInput(table.path, "header lacks the unnamed first column, the row in DL_info.csv")


def _matching(checks: RowChecks, name: str, pattern: str) -> pa.StringArray:
    cells = checks.ids(name)
    is_match = pc.match_substring_regex(cells, pattern).to_numpy(zero_copy_only=False)
    checks.refuse(
        ~is_match,
        lambda row: f"{name} must name patient, study, series, got {cells[row].as_py()!r}",
    )
    return cells


def _stacked(checks: RowChecks, names: Sequence[str]) -> np.ndarray:
    """Columns of numbers that must be there, float64 (rows, columns)."""
    return np.column_stack(
        [checks.numbers(name, is_required=True, largest=LARGEST_MEASURE) for name in names]
    )


def _number_lists(checks: RowChecks, name: str, count: int) -> np.ndarray:
    """A column of lists such as "[1, 2]" or "1, 2", float64 (rows, count), NaN where refused."""
    cells = checks.table.column(name)
    parts = pc.split_pattern(pc.replace_substring_regex(cells, r"[\[\]\s]", ""), ",")
    is_right = pc.equal(pc.list_value_length(parts), count).to_numpy(zero_copy_only=False)
    values = np.full((len(cells), count), np.nan)
    flat = pc.list_flatten(parts.filter(pa.array(is_right)))
    values[is_right] = parse_numbers(flat).reshape(-1, count)
    checks.refuse(
        ~(np.abs(values) <= LARGEST_MEASURE).all(axis=1),
        lambda row: f"{name} must be {count} finite numbers, got {cells[row].as_py()!r}",
    )
    return values


def _check_spacing(checks: RowChecks, spacing_mm: np.ndarray) -> None:
    checks.refuse(
        np.any(spacing_mm <= 0, axis=1),
        lambda row: f"spacing must be positive, got {spacing_mm[row].tolist()} mm",
    )


def _ids(names: pa.StringArray, row_numbers: np.ndarray) -> dict[str, pa.Array]:
    numbers = pc.utf8_lpad(pa.array(row_numbers.astype(np.int64)).cast(pa.string()), 5, "0")
    return {
        "lesion_id": pc.binary_join_element_wise("deeplesion", numbers, "/"),
        "patient_id": pc.utf8_slice_codeunits(names, 0, 6),
        "study_id": pc.utf8_slice_codeunits(names, 0, 9),
        "series_id": pc.utf8_slice_codeunits(names, 0, 12),
    }


def _placed(
    centre: np.ndarray, box_px: np.ndarray, spacing_mm: np.ndarray
) -> dict[str, np.ndarray]:
    """Centre and box in mm; the box is that of the key slice alone.

    Args:
        centre: (rows, 3) as (x, y, z) in voxels from 0.
        box_px: (rows, 4) as (x1, y1, x2, y2) in pixels from 0.
        spacing_mm: (rows, 3) as (x, y, z).
    """
    centre_mm = centre * spacing_mm
    box_mm = box_px * spacing_mm[:, [0, 1, 0, 1]]
    return {
        "x_mm": centre_mm[:, 0],
        "y_mm": centre_mm[:, 1],
        "z_mm": centre_mm[:, 2],
        "x_min_mm": box_mm[:, 0],
        "y_min_mm": box_mm[:, 1],
        "z_min_mm": centre_mm[:, 2],
        "x_max_mm": box_mm[:, 2],
        "y_max_mm": box_mm[:, 3],
        "z_max_mm": centre_mm[:, 2],
    }


def _axes(checks: RowChecks, axes_mm: np.ndarray) -> dict[str, np.ndarray]:
    checks.refuse(
        (axes_mm.min(axis=1) <= 0) | (axes_mm[:, 1] > axes_mm[:, 0]),
        lambda row: f"expected axes long >= short > 0, got {axes_mm[row].tolist()} mm",
    )
    return {"long_axis_mm": axes_mm[:, 0], "short_axis_mm": axes_mm[:, 1]}


def _regions(checks: RowChecks, official_types: np.ndarray) -> dict[str, pa.Array]:
    regions = [region_of_type(number) for number in official_types.tolist()]
    checks.refuse(
        np.array([region is None for region in regions], dtype=bool),
        lambda row: f"Coarse_lesion_type {official_types[row]:g} (official numbers) is unknown",
    )
    names = pa.array(regions, pa.string())
    return {"region": names, "type": pc.if_else(pc.equal(names, "unknown"), None, names)}


def _item_rows(
    checks: RowChecks,
    lesions: dict[str, pa.Array | np.ndarray],
    spacing_mm: np.ndarray,
    context: Context,
) -> ItemRows:
    keep = checks.keep
    rows = metadata_rows("lesion", lesions, keep)
    series = {
        **{name: lesions[name] for name in ("series_id", "study_id", "patient_id")},
        "modality": pa.array(["CT"] * len(keep)),
        "spacing_x_mm": spacing_mm[:, 0],
        "spacing_y_mm": spacing_mm[:, 1],
        "spacing_z_mm": spacing_mm[:, 2],
    }
    studies = {name: lesions[name] for name in ("patient_id", "study_id")}
    tables = {
        "patient": unique_rows(rows.select(["patient_id"])),
        "study": unique_rows(metadata_rows("study", studies, keep)),
        "series": _first_of_each(metadata_rows("series", series, keep), "series_id"),
        "lesion": rows,
        "fact": _facts(checks, lesions["patient_id"]),
    }
    return ItemRows(tables, measurement_vectors(rows, context), checks.rejected)


def _facts(checks: RowChecks, patients: pa.StringArray) -> pa.Table:
    """Sex and age of each patient, from the patient's first row."""
    keep = pa.array(checks.keep)
    sex = checks.optional_texts("Patient_gender")
    age = parse_numbers(checks.table.column("Patient_age"))
    named = {"patient_id": patients}
    sexes = metadata_rows("fact", {**named, "name": ["sex"] * len(age), "text": sex})
    ages = metadata_rows("fact", {**named, "name": ["age"] * len(age), "number": age})
    firsts = [_first_of_each(rows.filter(keep), "patient_id") for rows in (sexes, ages)]
    is_stated = pc.field("text").is_valid() | pc.field("number").is_valid()
    return pa.concat_tables(firsts).filter(is_stated)


def _first_of_each(rows: pa.Table, name: str) -> pa.Table:
    """The first row of each value of the column `name`."""
    _, first = np.unique(rows[name].to_numpy(), return_index=True)
    return rows.take(pa.array(np.sort(first)))
