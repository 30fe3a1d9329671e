"""A cache of the Hugging Face hub with one repository in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

REVISION = "abc"


def cached_repository(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the repository's files at `REVISION`, which is its newest; offline."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    files = repository / "snapshots" / REVISION
    files.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return files
