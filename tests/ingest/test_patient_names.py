"""A file's patient by its name."""

from __future__ import annotations

import pytest

from tumorbase.ingest.patient_names import patient_of_file

PATIENTS = {"P1", "P1-A", "P10", "TCGA-2F-A9KO"}


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("P1.svs", "P1"),
        ("P1.1.svs", "P1"),
        ("P1_left.svs", "P1"),
        ("P10.svs", "P10"),
        ("P1-A.svs", "P1-A"),
        ("P1-A-2.svs", "P1-A"),
        ("P1-B.svs", "P1"),
        ("P1", "P1"),
        ("P100.svs", "P100"),
        ("P1x.y.svs", "P1x"),
        ("TCGA-2F-A9KO-01Z-00-DX1.195576CF.svs", "TCGA-2F-A9KO"),
        ("other.h5", "other"),
    ],
)
def test_longest_known_patient_at_the_start_of_the_name_is_it(name: str, patient: str) -> None:
    assert patient_of_file(name, PATIENTS) == patient
