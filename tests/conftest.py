"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and reference numbers: `$TUMORBASE_SHARED`, else `shared` beside the checkout."""
    folder = Path(os.environ.get("TUMORBASE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "README.md").is_file():
        pytest.skip(f"real test data not found at {folder}; set TUMORBASE_SHARED")
    return folder
