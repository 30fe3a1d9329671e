"""Bags of a patient's tensors, as a training loop takes them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from tumorbase.query.bags import Bag, bags
from tumorbase.query.survival_cohort import read_outcomes


def day(number: int) -> datetime:
    """A day of January 2020."""
    return datetime(2020, 1, number)


def at(patient_id: str, known: int = 2) -> dict:
    """What row of a patient has times: of day 2, known from another."""
    return {"patient_id": patient_id, "event_time": day(2), "known_at": day(known)}


@pytest.fixture
def cohort(store, encoder, put):
    """A has two lesions (one known from day 8 on), a slide of 3 patches and a profile; B a lesion.

    C has an outcome alone; A's outcome is restated on day 8.
    """
    lesions = [
        at("A") | {"lesion_id": "A1"},
        at("A", 8) | {"lesion_id": "A2"},
        at("B") | {"lesion_id": "B1"},
    ]
    slide = at("A") | {"slide_id": "S"}
    profile = at("A") | {"profile_id": "A", "measured": [1, 2]}
    outcome = {"endpoint": "OS", "is_event": False}
    outcomes = [
        at("A") | outcome | {"time_days": 100.0},
        at("A", 8) | outcome | {"time_days": 300.0, "is_event": True},
        at("C") | outcome | {"time_days": 50.0},
        at("C") | outcome | {"time_days": 70.0, "endpoint": "PFS"},
    ]
    put(
        store,
        "all",
        {
            "patient": [{"patient_id": patient} for patient in "ABC"],
            "lesion": lesions,
            "slide": [slide],
            "profile": [profile],
            "outcome": outcomes,
        },
        [
            (encoder("r", "lesion", 4, True), lesions, np.eye(3, 4) * 5),
            (encoder("t", "patch", 5), [slide | {"patch_id": f"S{n}"} for n in range(3)],
             np.arange(15).reshape(3, 5)),
            (encoder("p", "profile", 2), [profile], [[3, 4]]),
        ],
    )  # fmt: skip
    return store.view()


def shapes(bag: Bag) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each.shape) for each in (bag.lesions, bag.patches, bag.profiles))


def test_bags_have_the_parts_of_each_patient_and_none_of_what_it_lacks(cohort):
    found = {bag.patient_id: bag for bag in bags(cohort, "OS")}
    assert {patient: shapes(bag) for patient, bag in found.items()} == {
        "A": ((2, 4), (3, 5), (1, 2)),
        "B": ((1, 4), (0, 5), (0, 2)),
        "C": ((0, 4), (0, 5), (0, 2)),
    }
    outcomes = {patient: (bag.time_days, bag.is_event) for patient, bag in found.items()}
    assert outcomes == {"A": (300.0, True), "B": (None, None), "C": (50.0, False)}


def test_rows_are_what_similarity_compares(cohort):
    bag = next(bags(cohort, "OS", ["A"]))
    loaded = cohort.vectors(cohort.encoder("lesion", "r"))
    own = loaded.matrix[loaded.rows["patient_id"].to_numpy() == "A"]
    np.testing.assert_array_equal(bag.lesions.numpy(), own)
    np.testing.assert_allclose(bag.profiles.numpy(), [[0.6, 0.8]])
    for tensor in (bag.lesions, bag.patches, bag.profiles):
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor.norm(dim=1), torch.ones(len(tensor)))


def test_bags_hold_what_was_known_then(cohort):
    early = {bag.patient_id: bag for bag in bags(cohort, "OS", as_of=day(7))}
    assert shapes(early["A"]) == ((1, 4), (3, 5), (1, 2))
    assert (early["A"].time_days, early["A"].is_event) == (100.0, False)
    assert list(bags(cohort, "OS", as_of=day(1))) == []
    (before,) = bags(cohort, "OS", ["A"], as_of=day(1))
    assert shapes(before) == ((0, 4), (0, 5), (0, 2))
    assert before.time_days is None


def test_bags_come_in_the_order_asked_for_and_of_the_endpoint(cohort):
    found = [(bag.patient_id, bag.time_days) for bag in bags(cohort, "PFS", ["C", "A"])]
    assert found == [("C", 70.0), ("A", None)]


def test_of_two_outcomes_known_at_once_the_longer_follow_up_counts(store, put):
    """As when a survival model is trained."""
    times = [(90.0, True), (120.0, False), (120.0, True), (30.0, True)]
    outcomes = [
        at("P") | {"endpoint": "OS", "time_days": days, "is_event": is_event}
        for days, is_event in times
    ]
    put(store, "all", {"patient": [{"patient_id": "P"}], "outcome": outcomes})
    (bag,) = bags(store.view(), "OS")
    assert (bag.time_days, bag.is_event) == (120.0, True)
    known = read_outcomes(store.view(), "OS")
    assert (known.time_days.tolist(), known.is_event.tolist()) == ([120.0], [True])


def test_a_store_without_vectors_gives_empty_bags(store, put):
    put(store, "names", {"patient": [{"patient_id": "P"}]})
    (bag,) = bags(store.view(), "OS")
    assert shapes(bag) == ((0, 0), (0, 0), (0, 0))


def test_a_data_loader_takes_bags(cohort):
    class Bags(IterableDataset):
        def __iter__(self):
            return bags(cohort, "OS")

    loaded = list(DataLoader(Bags(), batch_size=None))
    assert [bag.patient_id for bag in loaded] == ["A", "B", "C"]
    pooled = torch.stack([bag.lesions.sum(dim=0) for bag in loaded])
    assert pooled.shape == (3, 4)
