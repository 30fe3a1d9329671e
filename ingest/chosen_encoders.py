"""Whether a run's choice of encoders includes one."""

from __future__ import annotations

from collections.abc import Sequence

from tumorbase.models.encoders import build_encoder


def is_chosen(default: str, encoders: Sequence[str]) -> bool:
    """Whether `encoders` name the built-in `default`, or no encoder of its level at all."""
    if not encoders or default in encoders:
        return True
    level = build_encoder(default).spec.level
    return all(build_encoder(name).spec.level != level for name in encoders)
