"""One scan and what is drawn on it, read from its files: NIfTI, or a DICOM series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from tumorbase.ingest.dicom_seg import read_seg
from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.item import Item, Rejected
from tumorbase.ingest.mask_lesions import LabelMask
from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.ingest.rtstruct import read_rtstruct
from tumorbase.ingest.volume import Grid, Volume
from tumorbase.store.errors import BadInput

SCAN_KINDS = ("ct_nifti", "dicom_series")


@dataclass(frozen=True)
class DrawnScan:
    """The image, the masks on its grid, files that were left out, and seconds of both."""

    volume: Volume
    masks: list[LabelMask]
    rejected: list[Rejected]
    read_seconds: float
    drawn_seconds: float


def read_scan(item: Item) -> DrawnScan:
    """The scan of an item of one of `SCAN_KINDS`.

    Raises:
        BadInput: as `read_volume`, `read_labels`, `read_series`, `read_rtstruct` and `read_seg`; a
            mask is on another grid than the image, or nothing is drawn in a file.
    """
    started = perf_counter()
    details = item.details
    if item.kind == "ct_nifti":
        volume, rejected = read_volume(item.path), []
    else:
        series = read_series(item.path, details["series_id"], item.files[: details["slices"]])
        volume, rejected = series.volume, list(series.duplicates)
    read_at = perf_counter()
    masks = []
    if item.kind == "dicom_series":
        drawn = item.files[details["slices"] :]
        masks += _drawn_masks(drawn[: details["rtstructs"]], read_rtstruct, volume.grid)
        masks += _drawn_masks(
            drawn[details["rtstructs"] :][: details["segs"]], read_seg, volume.grid
        )
    from_nifti, empty = _read_masks(details.get("masks", {}), item.path, volume.grid)
    return DrawnScan(
        volume,
        [*masks, *from_nifti],
        [*rejected, *empty],
        read_at - started,
        perf_counter() - read_at,
    )


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
