"""Slides whose nuclei come from a file are not segmented as well: no nucleus is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tumorbase.ingest.item import Item, Plan


def nuclei_key(slide_id: str) -> str:
    """The key of the item that a file with the nuclei of a slide is."""
    return f"nuclei:{slide_id}"


def leave_nuclei_to_import(plan: Plan, is_stored: Callable[[str], bool]) -> Plan:
    """The plan, with `has_imported_nuclei` in the details of slides of which it imports nuclei, or
    of which the store has imported ones; `is_stored` tells of an item's key.
    """
    planned = {item.key for item in plan.items}

    def has_imported(item: Item) -> bool:
        if item.kind != "slide":
            return False
        key = nuclei_key(item.details["slide_id"])
        return key in planned or is_stored(key)

    items = (
        replace(item, details={**item.details, "has_imported_nuclei": True})
        if has_imported(item)
        else item
        for item in plan.items
    )
    return replace(plan, items=tuple(items))
