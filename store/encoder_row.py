"""An encoder as the store knows it: what every embedding is bound to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredEncoder:
    """An encoder's specification, and what it learned from data if it did (`artefact`)."""

    encoder_id: str
    name: str
    version: str
    level: str
    dim: int
    weights_sha256: str
    preprocessing: str
    is_standardised: bool
    feature_names: tuple[str, ...] = ()
    artefact: bytes = b""
