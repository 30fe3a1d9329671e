"""Phantom patients are tracked as they were planted: matches, splits, merges, new and vanished."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.query.tracking import track_patients
from tumorbase.server.demo.phantom_anatomy import build_anatomy
from tumorbase.server.demo.phantom_ct import lesions_of, scan_patient
from tumorbase.server.demo.phantom_lesions import plan_lesions
from tumorbase.server.demo.phantom_patients import draw_patients
from tumorbase.server.demo.phantom_truth import LesionTruth
from tumorbase.store.commit import CommitContent
from tumorbase.store.schema import METADATA
from tumorbase.store.store import Store


@pytest.fixture(scope="module")
def truth() -> list[LesionTruth]:
    """Lesions of six patients; in that of lowest risk one splits, in that of highest two merge."""
    patients = draw_patients(np.random.default_rng([1, 0]), 6)
    by_risk = sorted(patients, key=lambda patient: patient.risk)
    specials = {by_risk[0].patient_id: "split", by_risk[-1].patient_id: "merge"}
    found = []
    for index, patient in enumerate(patients):
        rng = np.random.default_rng([1, 2, index])
        anatomy = build_anatomy(rng)
        lobes = plan_lesions(rng, patient, anatomy, specials.get(patient.patient_id, ""))
        studies = range(len(patient.study_days))
        scans = [scan_patient(rng, anatomy, lobes, study) for study in studies]
        found += lesions_of(patient, lobes, scans)
    return found


def test_tracks_are_those_planted(truth, tmp_path):
    with Store.create(tmp_path / "store") as store:
        store.commit(CommitContent("k", "test", "k", "1", "run", _tables(truth)))
        patients = track_patients(store.view())
    tracks = [track for patient in patients for track in patient.tracks]
    members = {track.track_id: tuple(each.lesion_id for each in track.lesions) for track in tracks}
    planted = {track_id: _members(truth, track_id) for track_id in {t.track_id for t in truth}}
    assert sorted(members.values()) == sorted(planted.values())
    parents = {members[t.track_id]: sorted(members[each] for each in t.parents) for t in tracks}
    expected = {
        planted[lesion.track_id]: sorted(planted[each] for each in lesion.parents)
        for lesion in truth
    }
    assert parents == expected
    assert {"split", "merged"} <= {track.status for track in tracks}


def _members(truth: list[LesionTruth], track_id: str) -> tuple[str, ...]:
    return tuple(_id(index) for index, each in enumerate(truth) if each.track_id == track_id)


def _id(index: int) -> str:
    return f"lesion-{index:04d}"


def _tables(truth: list[LesionTruth]) -> dict[str, pa.Table]:
    """The lesions as they would be measured, without vectors."""
    lesions = [
        {
            "lesion_id": _id(index), "patient_id": each.patient_id, "study_id": each.study_id,
            "region": each.region, "x_mm": each.x_mm, "y_mm": each.y_mm, "z_mm": each.z_mm,
            "long_axis_mm": each.diameter_mm, "volume_mm3": each.volume_mm3,
        }
        for index, each in enumerate(truth)
    ]  # fmt: skip
    patients = [{"patient_id": patient} for patient in sorted({t.patient_id for t in truth})]
    rows = {"patient": patients, "lesion": lesions}
    return {
        name: pa.Table.from_pylist(
            [{column: record.get(column) for column in METADATA[name].names} for record in records],
            schema=METADATA[name],
        )
        for name, records in rows.items()
    }
