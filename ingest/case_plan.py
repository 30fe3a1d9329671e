"""The plan of cases: what is encoded from all scans of a study together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tumorbase.ingest.drawn_scan import SCAN_KINDS
from tumorbase.ingest.item import Item


def plan_cases(items: Sequence[Item]) -> list[Item]:
    """One item "case" for each study of which there is an item of a scan.

    Its files are all of its scans': it changes whenever one of them does, also in what is drawn on
    it. `details` hold "study_id" and "scans": the "key", "kind" and "details" of each, and how many
    "files" it has.
    """
    scans: dict[str, Item] = {}
    for item in items:
        if item.kind in SCAN_KINDS:
            scans.setdefault(item.key, item)  # a second one of a key is refused
    ordered = sorted(scans.values(), key=lambda item: (case_key(item), _modality(item), item.key))
    return [_case(key, list(of_case)) for key, of_case in groupby(ordered, case_key)]


def case_key(scan: Item) -> str:
    """The key of the case that a scan belongs to.

    It is of its patient and study: a study's own id may be another patient's too.
    """
    return f"case:{scan.patient_id}/{scan.details['study_id']}"


def series_id(scan: Mapping[str, Any]) -> str:
    """The id of a scan of a case, as its "scans" describe it."""
    return str(scan["key"]).removeprefix("series:")


def _modality(item: Item) -> str:
    return str(item.details["modality"])


def _case(key: str, scans: Sequence[Item]) -> Item:
    return Item(
        kind="case",
        key=key,
        path=scans[0].path,
        files=tuple(file for scan in scans for file in scan.files),
        patient_id=scans[0].patient_id,
        details={
            "study_id": scans[0].details["study_id"],
            "scans": [
                {
                    "key": scan.key,
                    "kind": scan.kind,
                    "details": dict(scan.details),
                    "files": len(scan.files),
                }
                for scan in scans
            ],
        },
    )
