"""Which patient a file belongs to, by its name."""

from __future__ import annotations

import re
from collections.abc import Set

_TCGA_BARCODE = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?=[-.]|$)")  # of a participant


def patient_of_file(name: str, patients: Set[str]) -> str:
    """The patient of a file or slide folder.

    The longest of `patients` that the stem is, or begins with before a character that is neither
    letter nor digit: `TCGA-2F-A9KO` for `TCGA-2F-A9KO-01Z-00-DX1.svs`. Else the
    participant of a TCGA barcode, or the name up to its first dot.
    """
    for end in range(len(name), 0, -1):
        if name[:end] in patients and not name[end : end + 1].isalnum():
            return name[:end]
    barcode = _TCGA_BARCODE.match(name)
    return barcode[0] if barcode else name.partition(".")[0]
