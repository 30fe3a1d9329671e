"""Which patient a file belongs to, by its name."""

from __future__ import annotations

from collections.abc import Collection


def patient_of_file(name: str, patients: Collection[str]) -> str:
    """The patient of a file or slide folder.

    The longest of `patients` that the stem is, or begins with before a character that is neither
    letter nor digit: `TCGA-2F-A9KO` for `TCGA-2F-A9KO-01Z-00-DX1.svs`. Else the name up to its
    first dot.
    """
    matching = [
        patient
        for patient in patients
        if name.startswith(patient) and not name[len(patient) : len(patient) + 1].isalnum()
    ]
    return max(matching, key=len, default=name.partition(".")[0])
