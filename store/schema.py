"""The tables: every metadata table in DuckDB and every row kind in LanceDB, as Arrow schemas.

Rows are only ever added. Each belongs to one commit (`commit_id`, added by the store), and is
visible while its commit is; so these schemas name neither the commit nor anything that changes.

Times are UTC. `event_time` is when a fact happened, `known_at` when it became known; a reader
leaves what its source does not state null, and the store then takes: `known_at` = `event_time`, or
the time of the commit where that is null too; `event_time` = `known_at`.
"""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us")
_FACT_TIMES = [("event_time", TIME), ("known_at", TIME)]

# DuckDB. Ids are strings, derived from the source, and stable.
METADATA: dict[str, pa.Schema] = {
    # One row wherever a source names the patient; the visible table has one row a patient.
    "patient": pa.schema([("patient_id", pa.string())]),
    # The visible table has one row for each (patient_id, study_id), dated by a table that states a
    # date, else by its images.
    "study": pa.schema(
        [
            ("patient_id", pa.string()),
            ("study_id", pa.string()),
            ("study_date", TIME),
            ("known_at", TIME),
        ]
    ),
    "series": pa.schema(
        [
            ("series_id", pa.string()),
            ("study_id", pa.string()),
            ("patient_id", pa.string()),
            ("modality", pa.string()),  # DICOM modality: CT, MR, PT
            (
                "path",
                pa.string(),
            ),  # of the image file or folder; null when ingested under a pseudonym
            ("slices", pa.int32()),
            ("spacing_z_mm", pa.float64()),
            ("spacing_y_mm", pa.float64()),
            ("spacing_x_mm", pa.float64()),
            *_FACT_TIMES,
        ]
    ),
    "lesion": pa.schema(
        [
            ("lesion_id", pa.string()),
            ("patient_id", pa.string()),
            ("study_id", pa.string()),
            ("series_id", pa.string()),  # null where only a measurement is known
            ("region", pa.string()),  # "primary", "node", or an organ such as "liver"
            ("type", pa.string()),  # the source's own type, null if none
            ("x_mm", pa.float64()),  # centroid in LPS; null where the source does not place it
            ("y_mm", pa.float64()),
            ("z_mm", pa.float64()),
            ("x_min_mm", pa.float64()),  # bounding box in LPS, null as above
            ("y_min_mm", pa.float64()),
            ("z_min_mm", pa.float64()),
            ("x_max_mm", pa.float64()),
            ("y_max_mm", pa.float64()),
            ("z_max_mm", pa.float64()),
            ("long_axis_mm", pa.float64()),  # RECIST 1.1, in the axial plane
            ("short_axis_mm", pa.float64()),
            ("volume_mm3", pa.float64()),
            ("body_part", pa.float64()),  # null: queries fill it from the level of that name
            *_FACT_TIMES,
        ]
    ),
    "slide": pa.schema(
        [
            ("slide_id", pa.string()),
            ("patient_id", pa.string()),
            ("path", pa.string()),
            ("vendor", pa.string()),
            ("mpp", pa.float64()),  # micrometres per level-0 pixel
            ("width_px", pa.int64()),
            ("height_px", pa.int64()),
            ("tissue_mm2", pa.float64()),
            *_FACT_TIMES,
        ]
    ),
    "profile": pa.schema(
        [
            ("profile_id", pa.string()),
            ("patient_id", pa.string()),
            ("panel_id", pa.string()),
            (
                "measured",
                pa.list_(pa.float32()),
            ),  # in the order of the panel's columns; NaN if missing
            *_FACT_TIMES,
        ]
    ),
    "panel": pa.schema(
        [
            ("panel_id", pa.string()),
            ("columns", pa.list_(pa.string())),
        ]  # GENE_rnaseq, GENE_cnv, GENE_mut
    ),
    # A covariate or any other clinical statement: a number or a text.
    "fact": pa.schema(
        [
            ("patient_id", pa.string()),
            ("name", pa.string()),
            ("number", pa.float64()),
            ("text", pa.string()),
            *_FACT_TIMES,
        ]
    ),
    "outcome": pa.schema(
        [
            ("patient_id", pa.string()),
            ("endpoint", pa.string()),
            ("time_days", pa.float64()),
            ("is_event", pa.bool_()),  # False: censored
            *_FACT_TIMES,
        ]
    ),
    "diagnosis": pa.schema([("patient_id", pa.string()), ("icd10cm", pa.string()), *_FACT_TIMES]),
}

# LanceDB: one table for each level and encoder, `<level>/<encoder_id>` with a fixed-size float32
# `vector`, after the columns below. A vector's row repeats what filters need.
VECTOR_ROWS: dict[str, pa.Schema] = {
    "lesion": pa.schema([("lesion_id", pa.string()), ("patient_id", pa.string())]),
    # One number: how far down the body the lesion lies, growing from head to feet.
    "body_part": pa.schema([("lesion_id", pa.string()), ("patient_id", pa.string())]),
    "patch": pa.schema(
        [
            ("patch_id", pa.string()),
            ("slide_id", pa.string()),
            ("patient_id", pa.string()),
            ("x_level0_px", pa.int64()),  # upper left corner
            ("y_level0_px", pa.int64()),
            ("side_level0_px", pa.int64()),
            ("mpp", pa.float64()),  # at which the patch was encoded
            ("tissue_fraction", pa.float32()),
        ]
    ),
    # Squares of 16 x 16 patches; smaller at the slide's border.
    "region": pa.schema(
        [
            ("region_id", pa.string()),
            ("slide_id", pa.string()),
            ("patient_id", pa.string()),
            ("x_level0_px", pa.int64()),  # upper left corner
            ("y_level0_px", pa.int64()),
            ("width_level0_px", pa.int64()),
            ("height_level0_px", pa.int64()),
            ("mpp", pa.float64()),  # at which the region was encoded
            ("tissue_patches", pa.int32()),  # that show tissue: so much it weighs in its slide
        ]
    ),
    "nucleus": pa.schema(
        [
            ("nucleus_id", pa.string()),
            ("slide_id", pa.string()),
            ("patient_id", pa.string()),
            ("x_level0_px", pa.float64()),  # centroid
            ("y_level0_px", pa.float64()),
            ("mpp", pa.float64()),  # of the pixels in which the shape is measured; null if unknown
            ("type", pa.string()),
            ("type_probability", pa.float32()),
        ]
    ),
    "slide": pa.schema([("slide_id", pa.string()), ("patient_id", pa.string())]),
    "profile": pa.schema([("profile_id", pa.string()), ("patient_id", pa.string())]),
    "series": pa.schema(
        [("series_id", pa.string()), ("study_id", pa.string()), ("patient_id", pa.string())]
    ),
    # The scans of one study. Its id is PATIENT/STUDY: another patient's study may be called alike.
    "case": pa.schema(
        [("case_id", pa.string()), ("study_id", pa.string()), ("patient_id", pa.string())]
    ),
}

# The column that names the rows of a level: the first one.
ID_COLUMN = {level: schema.names[0] for level, schema in VECTOR_ROWS.items()} | {
    "patient": "patient_id"
}
