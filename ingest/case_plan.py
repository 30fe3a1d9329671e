"""The plan of cases: what is encoded from all scans of a study together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tumorbase.ingest.item import Item


def plan_cases(items: Sequence[Item]) -> list[Item]:
    """One item "case" for each study of which there is an item "ct_nifti" or "dicom_series".

    Its files are the images without what is drawn on them. `details` hold "study_id" and "scans":
    the "series_id", "modality" and "kind" of each, and how many "files" it has.
    """
    scans = {item.key: item for item in items if item.kind in ("ct_nifti", "dicom_series")}
    ordered = sorted(scans.values(), key=lambda item: (_case_id(item), _modality(item), item.key))
    return [_case(case_id, list(of_case)) for case_id, of_case in groupby(ordered, _case_id)]


def _case_id(item: Item) -> str:
    """Of its patient and study: a study's own id may be another patient's too."""
    return f"{item.patient_id}/{item.details['study_id']}"


def _modality(item: Item) -> str:
    return str(item.details["modality"])


def _case(case_id: str, scans: Sequence[Item]) -> Item:
    images = [scan.files[: scan.details.get("slices", 1)] for scan in scans]
    return Item(
        kind="case",
        key=f"case:{case_id}",
        path=scans[0].path,
        files=tuple(file for of_scan in images for file in of_scan),
        patient_id=scans[0].patient_id,
        details={
            "study_id": scans[0].details["study_id"],
            "scans": [
                {
                    "series_id": scan.key.removeprefix("series:"),
                    "modality": _modality(scan),
                    "kind": scan.kind,
                    "files": len(files),
                }
                for scan, files in zip(scans, images, strict=True)
            ],
        },
    )
