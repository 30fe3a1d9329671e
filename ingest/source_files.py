"""The files that a user's paths stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def files_below(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths` and all files below the folders among them, by name, none hidden."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            files += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return files
