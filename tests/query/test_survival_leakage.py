"""What is measured of other patients changes nothing of a fold, whatever the model."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.survival_training import Recipe
from tumorbase.query.answers import CIndex, Trained, TrainingQuestion
from tumorbase.query.network_survival import train_network
from tumorbase.query.survival import read_survival_model, train_survival
from tumorbase.store.store import Store

PATIENTS = [f"p{index:02}" for index in range(28)]
OTHERS = [f"q{index:02}" for index in range(4)]
FOLD = (tuple(PATIENTS[:20]), tuple(PATIENTS[20:]))


@pytest.fixture
def add(encoder, put):
    """Adds patients with two genes, a patch, a number and an outcome; `far` is added to all."""
    look, rng = encoder("look", "patch", 2), np.random.default_rng(4)

    def commit(store: Store, patients: list[str], far: float) -> None:
        numbers = (rng.normal(size=(len(patients), 2)) + far).tolist()
        rows = [{"patient_id": patient} for patient in patients]
        slides = [row | {"slide_id": row["patient_id"]} for row in rows]
        tables = {
            "patient": rows,
            "fact": [
                row | {"name": "size", "number": each[0]}
                for row, each in zip(rows, numbers, strict=True)
            ],
            "panel": [{"panel_id": "two", "columns": ["A_rnaseq", "B_rnaseq"]}],
            "profile": [
                row | {"profile_id": row["patient_id"], "panel_id": "two", "measured": each}
                for row, each in zip(rows, numbers, strict=True)
            ],
            "slide": slides,
            "outcome": [
                row | {"endpoint": "OS", "time_days": 100 + 9 * n + far, "is_event": n % 3 > 0}
                for n, row in enumerate(rows)
            ],
        }
        patches = [slide | {"patch_id": slide["slide_id"]} for slide in slides]
        put(store, f"far {far}", tables, [(look, patches, numbers)])

    return commit


def train_quickly(store: Store, question: TrainingQuestion) -> Trained:
    """A network after a few steps of which each counts."""
    return train_network(store, question, recipe=Recipe(3, learning_rate=2e-3, patients_a_step=4))


@pytest.mark.parametrize(
    ("architecture", "train_by"), [("cox", train_survival), ("porpoise", train_quickly)]
)
def test_other_patients_change_nothing_of_a_fold(tmp_path, add, architecture, train_by):
    """Four more come into the store, all of whose numbers are far from those of the others."""

    def train(store: Store) -> tuple[int, CIndex, list[bool]]:
        trained = train_by(store, TrainingQuestion("OS", architecture, "m", (FOLD,), seed=3))
        is_high = read_survival_model(store.view(), "m").held_out.is_high_risk
        return trained.patients, trained.c_index, is_high.tolist()

    with Store.create(tmp_path / "store") as store:
        add(store, PATIENTS, 0.0)
        patients, *alone = train(store)
        add(store, OTHERS, 1e4)
        more_patients, *among_others = train(store)
    assert (patients, more_patients) == (28, 32)
    assert alone == among_others
