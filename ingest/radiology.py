"""Readers of volumes: NIfTI files or one DICOM series become rows and vectors."""

from __future__ import annotations

from datetime import datetime
from time import perf_counter

import pyarrow as pa

from tumorbase.ingest.dicom_header import identity_facts, read_dataset
from tumorbase.ingest.drawn_scan import DrawnScan, read_scan
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.lesion_table import measurement_vectors
from tumorbase.ingest.lesion_vectors import encode_lesions
from tumorbase.ingest.mask_lesions import SeriesIdentity, find_lesions, lesion_table
from tumorbase.ingest.volume import Grid
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA


def read_ct_nifti(item: Item, context: Context) -> ItemRows:
    """Rows of one NIfTI image and its masks: patient, study, series and lesions with their vectors.

    `item.details` holds "study_id", "masks" (region -> path; may be empty) and "modality". The file
    states no date, so times are null. An empty mask is refused, alone where another mask of the
    image has labels, else with the image.

    Raises:
        BadInput: as `read_scan`.
    """
    scan = read_scan(item)
    identity = SeriesIdentity(
        _patient(item), item.details["study_id"], item.key.removeprefix("series:")
    )
    rows = _rows(item, context, identity, scan)
    rows.seconds["read"] = scan.read_seconds + scan.drawn_seconds
    return rows


def read_dicom_series(item: Item, context: Context) -> ItemRows:
    """Rows of one DICOM series and what is drawn on it; the study has its time, the others none.

    `item` is as `plan_dicom` makes it, with "masks" as of `read_ct_nifti` if NIfTI masks lie beside
    it. The store gives lesions the time of their study, not of the day they were outlined: they are
    measurements of what the images showed. Identifying attributes become facts only with
    `context.keep_identity`.

    Raises:
        BadInput: as `read_scan`.
    """
    scan = read_scan(item)
    details = item.details
    time = datetime.fromisoformat(details["study_time"]) if details["study_time"] else None
    identity = SeriesIdentity(_patient(item), details["study_id"], details["series_id"], time)
    rows = _rows(item, context, identity, scan)
    if context.keep_identity:
        rows.tables["fact"] = _identity_table(identity, item.files[0])
    rows.seconds["read"] = scan.read_seconds
    rows.seconds["resample"] += scan.drawn_seconds
    return rows


def _rows(
    item: Item,
    context: Context,
    identity: SeriesIdentity,
    scan: DrawnScan,
) -> ItemRows:
    """Tables and vectors of one series; seconds of "resample" (lesions cut out) and "encode"."""
    started = perf_counter()
    modality, volume = item.details["modality"], scan.volume
    rows = ItemRows(tables=_series_tables(item.path, identity, volume.grid, modality))
    rows.rejected += scan.rejected
    lesions = find_lesions(scan.masks, volume.grid, identity.series_id, context.min_lesion_mm3)
    table = lesion_table(lesions, volume.grid, identity)
    rows.tables["lesion"] = table
    rows.seconds = {"resample": perf_counter() - started, "encode": 0.0}
    if lesions and not scan.is_comparable:
        rows.vectors = measurement_vectors(table, context)
    elif lesions:
        rows.vectors, seconds = encode_lesions(volume, lesions, table, modality, context)
        rows.seconds["resample"] += seconds["resample"]
        rows.seconds["encode"] = seconds["encode"]
    return rows


def _patient(item: Item) -> str:
    if not item.patient_id:
        raise BadInput(item.path, "the patient is not known: patient_id is empty")
    return item.patient_id


def _series_tables(
    path: str, identity: SeriesIdentity, grid: Grid, modality: str
) -> dict[str, pa.Table]:
    z_mm, y_mm, x_mm = grid.spacing_mm
    patient = {"patient_id": identity.patient_id}
    study = {
        **patient,
        "study_id": identity.study_id,
        "study_date": identity.time,
        "known_at": identity.time,
    }
    series = {
        **patient,
        "study_id": identity.study_id,
        "series_id": identity.series_id,
        "modality": modality,
        "path": path,
        "slices": grid.shape[0],
        "spacing_z_mm": z_mm,
        "spacing_y_mm": y_mm,
        "spacing_x_mm": x_mm,
        "event_time": None,  # its study's
        "known_at": None,
    }
    rows = {"patient": patient, "study": study, "series": series}
    return {name: pa.Table.from_pylist([row], schema=METADATA[name]) for name, row in rows.items()}


def _identity_table(identity: SeriesIdentity, slice_path: str) -> pa.Table:
    """Identifying attributes as facts named by their DICOM keyword."""
    facts = [
        {
            "patient_id": identity.patient_id,
            "name": keyword,
            "text": text,
            "event_time": identity.time,
            "known_at": identity.time,
        }
        for keyword, text in identity_facts(read_dataset(slice_path, pixels=False)).items()
    ]
    return pa.Table.from_pylist(facts, schema=METADATA["fact"])
