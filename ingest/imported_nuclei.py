"""Slides whose nuclei come from a file are not segmented as well: no nucleus is counted twice."""

from __future__ import annotations

from dataclasses import replace

from tumorbase.ingest.item import Plan


def leave_nuclei_to_import(plan: Plan) -> Plan:
    """The plan, with `has_imported_nuclei` in the details of slides of which it imports nuclei."""
    imported = {item.details["slide_id"] for item in plan.items if item.kind == "nuclei"}
    items = [
        replace(item, details={**item.details, "has_imported_nuclei": True})
        if item.kind == "slide" and item.details["slide_id"] in imported
        else item
        for item in plan.items
    ]
    return replace(plan, items=tuple(items))
