"""Examples of the documentation, run as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models"


def run_example(page: str, number: int, **given: Any) -> dict[str, Any]:
    """Run a page's Python example, counted from 0, and return its variables."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    exec(compile(blocks[number], page, "exec"), given)
    return given
