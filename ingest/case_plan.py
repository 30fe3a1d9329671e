"""The plan of cases: what is encoded from all scans of a study together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from tumorbase.ingest.drawn_scan import SCAN_KINDS
from tumorbase.ingest.item import Item, Plan, Rejected
from tumorbase.store.errors import BadInput


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


def refuse_partial_cases(plan: Plan, series: pa.Table, stored_id: Callable[[str], str]) -> Plan:
    """The plan without cases of which the store has more series than it, and why they are refused.

    A vector of the scans at hand would take the place of one of all scans.

    Args:
        plan: of a run.
        series: rows of `METADATA["series"]` in the store.
        stored_id: from an id to the one it has in the store, such as its pseudonym.
    """
    stored: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for row in series.select(["patient_id", "study_id", "series_id"]).to_pylist():
        stored[row["patient_id"], row["study_id"]].add(row["series_id"])
    kept, rejected = [], []
    for item in plan.items:
        further: set[str] = set()
        if item.kind == "case":
            study = (stored_id(item.patient_id or ""), stored_id(item.details["study_id"]))
            further = stored[study] - {stored_id(series_id(one)) for one in item.details["scans"]}
        if further:
            reason = (
                f"{item.key} is not encoded: the store has {len(further)} more series of its study "
                f"({', '.join(sorted(further))}); name all of the study's files in one run"
            )
            rejected.append(Rejected(item.path, reason))
        else:
            kept.append(item)
    return replace(plan, items=tuple(kept), rejected=(*plan.rejected, *rejected))


def refuse_without_scan(item: Item, refused: Mapping[str, BadInput]) -> None:
    """Refuse a case of which a scan was refused after it had been read; other items pass.

    Args:
        item: of a run.
        refused: why items of the run were refused once they had been read, by key.

    Raises:
        BadInput: without its series in the store, a vector would be of nothing.
    """
    for scan in item.details.get("scans", ()):
        if error := refused.get(scan["key"]):
            raise BadInput(error.path, f"its case has no vector without it: {error.reason}")


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
