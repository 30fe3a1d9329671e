"""The eight coarse lesion types of DeepLesion (Yan et al. 2018), by their official number."""

from __future__ import annotations

TYPES = (
    "bone",
    "abdomen",
    "mediastinum",
    "liver",
    "lung",
    "kidney",
    "soft tissue",
    "pelvis",
)
UNKNOWN = -1


def region_of_type(number: float) -> str | None:
    """The name of official type 1 .. 8, "unknown" for -1, None for what is no type."""
    if number == UNKNOWN:
        return "unknown"
    return TYPES[int(number) - 1] if number in range(1, len(TYPES) + 1) else None
