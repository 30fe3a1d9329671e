"""Readers of volumes: NIfTI files or one DICOM series become rows and vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import perf_counter

import pyarrow as pa

from tumorbase.ingest.dicom_header import identity_facts, read_dataset
from tumorbase.ingest.dicom_seg import read_seg
from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.item import Context, Item, ItemRows, Rejected
from tumorbase.ingest.lesion_vectors import encode_lesions
from tumorbase.ingest.mask_lesions import LabelMask, SeriesIdentity, find_lesions, lesion_table
from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.ingest.rtstruct import read_rtstruct
from tumorbase.ingest.volume import Grid, Volume
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA


def read_ct_nifti(item: Item, context: Context) -> ItemRows:
    """Rows of one NIfTI image and its masks: patient, study, series and lesions with their vectors.

    `item.details` holds "study_id", "masks" (region -> path; may be empty) and "modality". The file
    states no date, so times are null. An empty mask is refused, alone where another mask of the
    image has labels, else with the image.

    Raises:
        BadInput: as `read_volume` and `read_labels`, or a mask on another grid than the image.
    """
    started = perf_counter()
    volume = read_volume(item.path)
    masks, rejected = _read_masks(item.details["masks"], item.path, volume.grid)
    read_at = perf_counter()
    identity = SeriesIdentity(
        _patient(item), item.details["study_id"], item.key.removeprefix("series:")
    )
    rows = _rows(item, context, identity, volume, masks)
    rows.rejected += rejected
    rows.seconds["read"] = read_at - started
    return rows


def read_dicom_series(item: Item, context: Context) -> ItemRows:
    """Rows of one DICOM series and what is drawn on it; times are those of the study.

    `item` is as `plan_dicom` makes it, with "masks" as of `read_ct_nifti` if NIfTI masks lie beside
    it. Lesions carry the study's time, not the day they were
    outlined: they are measurements of what the images showed. Identifying attributes become facts
    only with `context.keep_identity`.

    Raises:
        BadInput: as `read_series`, `read_rtstruct` and `read_seg`, or a file without a voxel drawn.
    """
    started = perf_counter()
    details = item.details
    slices = item.files[: details["slices"]]
    drawn = item.files[details["slices"] :]
    series = read_series(item.path, details["series_id"], slices)
    read_at = perf_counter()
    grid = series.volume.grid
    masks = _drawn_masks(drawn[: details["rtstructs"]], read_rtstruct, grid)
    masks += _drawn_masks(drawn[details["rtstructs"] :][: details["segs"]], read_seg, grid)
    from_nifti, rejected = _read_masks(details.get("masks", {}), item.path, grid)
    drawn_at = perf_counter()
    time = datetime.fromisoformat(details["study_time"]) if details["study_time"] else None
    identity = SeriesIdentity(_patient(item), details["study_id"], details["series_id"], time)
    rows = _rows(item, context, identity, series.volume, [*masks, *from_nifti])
    rows.rejected += [*series.duplicates, *rejected]
    if context.keep_identity:
        rows.tables["fact"] = _identity_table(identity, slices[0])
    rows.seconds["read"] = read_at - started
    rows.seconds["resample"] += drawn_at - read_at
    return rows


def _rows(
    item: Item,
    context: Context,
    identity: SeriesIdentity,
    volume: Volume,
    masks: Sequence[LabelMask],
) -> ItemRows:
    """Tables and vectors of one series; seconds of "resample" (lesions cut out) and "encode"."""
    started = perf_counter()
    modality = item.details["modality"]
    rows = ItemRows(tables=_series_tables(item.path, identity, volume.grid, modality))
    lesions = find_lesions(masks, volume.grid, identity.series_id, context.min_lesion_mm3)
    table = lesion_table(lesions, volume.grid, identity)
    rows.tables["lesion"] = table
    rows.seconds = {"resample": perf_counter() - started, "encode": 0.0}
    if lesions:
        rows.vectors, seconds = encode_lesions(volume, lesions, table, modality, context)
        rows.seconds["resample"] += seconds["resample"]
        rows.seconds["encode"] = seconds["encode"]
    return rows


def _read_masks(
    paths: Mapping[str, str], image_path: str, grid: Grid
) -> tuple[list[LabelMask], list[Rejected]]:
    """NIfTI masks by region, on the image's grid, and a refusal of each empty one beside others.

    Raises:
        BadInput: a mask is on another grid, or none has a labelled voxel.
    """
    masks, rejected = [], []
    for region, path in paths.items():
        labels, own = read_labels(path)
        if not own.matches(grid):
            reason = f"mask on another grid than its image: {own}; {image_path} has {grid}"
            raise BadInput(path, reason)
        if labels.any():
            masks.append(LabelMask(path, region, labels))
        else:
            rejected.append(Rejected(path, "empty mask: no voxel is labelled"))
    if rejected and not masks:
        raise BadInput(rejected[0].path, rejected[0].reason)
    return masks, rejected


def _drawn_masks(
    paths: Sequence[str], read: Callable[[str, Grid], list[LabelMask]], grid: Grid
) -> list[LabelMask]:
    """What is drawn in each file; ROIs and segments without a voxel say that there is nothing.

    Raises:
        BadInput: nothing is drawn in a whole file.
    """
    masks = []
    for path in paths:
        drawn = [mask for mask in read(path, grid) if mask.labels.any()]
        if not drawn:
            raise BadInput(path, "empty: no ROI or segment in it covers a voxel")
        masks += drawn
    return masks


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
        "event_time": identity.time,
        "known_at": identity.time,
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
