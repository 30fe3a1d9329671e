"""One scan and what is drawn on it, read from its files: NIfTI, or a DICOM series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from tumorbase.ingest.dicom_seg import read_seg
from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.item import Item, Rejected
from tumorbase.ingest.mask_lesions import LabelMask
from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.ingest.rtstruct import read_rtstruct
from tumorbase.ingest.suv import suv_scale
from tumorbase.ingest.volume import Grid, Volume
from tumorbase.store.errors import BadInput

SCAN_KINDS = ("ct_nifti", "dicom_series")


@dataclass(frozen=True)
class DrawnScan:
    """The image, the masks on its grid, what was left out, and seconds of both.

    `is_comparable` is False for PET of which the SUV cannot be told: its voxels mean another thing
    in each patient.
    """

    volume: Volume
    masks: list[LabelMask]
    rejected: list[Rejected]
    is_comparable: bool
    read_seconds: float
    drawn_seconds: float


def read_scan(item: Item) -> DrawnScan:
    """The scan of an item of one of `SCAN_KINDS`.

    PET from DICOM comes in SUV; where that cannot be computed it stays as it is, with the reason in
    `rejected`. A file in which no lesion is drawn is left out. It is the scan's end only where
    lesions are said to be in it that cover no voxel, and nothing else is drawn on the scan.

    Raises:
        BadInput: as `read_volume`, `read_labels`, `read_series`, `read_rtstruct` and `read_seg`; a
            mask is on another grid than the image, or all of them are empty.
    """
    started = perf_counter()
    details = item.details
    if item.kind == "ct_nifti":
        volume, rejected = read_volume(item.path), []
    else:
        series = read_series(item.path, details["series_id"], item.files[: details["slices"]])
        volume, rejected = series.volume, list(series.duplicates)
    not_in_suv = _to_suv(item, volume)
    read_at = perf_counter()
    masks, empty = [], []
    for path, drawn in _drawn(item, volume.grid):
        filled = [mask for mask in drawn if mask.labels.any()]
        masks += filled
        if not drawn:
            rejected.append(Rejected(path, "no ROI or segment in it says that it is a lesion"))
        elif not filled:
            empty.append(Rejected(path, "empty mask: it covers no voxel"))
    if empty and not masks:
        raise BadInput(empty[0].path, empty[0].reason)
    return DrawnScan(
        volume,
        masks,
        [*rejected, *not_in_suv, *empty],
        not not_in_suv,
        read_at - started,
        perf_counter() - read_at,
    )


def _to_suv(item: Item, volume: Volume) -> list[Rejected]:
    """Scale PET from DICOM to SUV in place, or say why that cannot be."""
    if item.kind != "dicom_series" or item.details["modality"] != "PT":
        return []
    try:
        volume.voxels[:] *= np.float32(suv_scale(item.files[: item.details["slices"]]))
    except BadInput as error:
        reason = f"PET not in SUV, its lesions are not encoded by uptake: {error.reason}"
        return [Rejected(error.path, reason)]
    return []


def _drawn(item: Item, grid: Grid) -> Iterator[tuple[str, list[LabelMask]]]:
    """Each file that is drawn on the scan, and the masks in it."""
    details = item.details
    if item.kind == "dicom_series":
        drawn = item.files[details["slices"] :]
        for index, path in enumerate(drawn[: details["rtstructs"] + details["segs"]]):
            yield path, (read_rtstruct if index < details["rtstructs"] else read_seg)(path, grid)
    for region, path in details.get("masks", {}).items():
        labels, own = read_labels(path)
        if not own.matches(grid):
            image = f"{item.path} has {grid}"
            raise BadInput(path, f"mask on another grid than its image: {own}; {image}")
        yield path, [LabelMask(path, region, labels)]
