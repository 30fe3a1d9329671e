"""Which patient a file belongs to, by its name."""

from __future__ import annotations

from collections.abc import Set


def patient_of_file(name: str, patients: Set[str]) -> str:
    """The patient of a file or slide folder.

    The longest of `patients` that the stem is, or begins with before a character that is neither
    letter nor digit: `TCGA-2F-A9KO` for `TCGA-2F-A9KO-01Z-00-DX1.svs`. Else the name up to its
    first dot.
    """
    for end in range(len(name), 0, -1):
        if name[:end] in patients and not name[end : end + 1].isalnum():
            return name[:end]
    return name.partition(".")[0]
