"""Survival networks trained and scored over a real store."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from tumorbase.models.gene_signatures import GeneSignatures
from tumorbase.models.survival_architectures import ARCHITECTURES
from tumorbase.models.survival_training import Recipe
from tumorbase.query.answers import TrainingQuestion
from tumorbase.query.network_inputs import InputSpec, NetworkInputs, input_spec
from tumorbase.query.network_model import read_network
from tumorbase.query.network_survival import train_network
from tumorbase.query.patch_bags import PatchBags
from tumorbase.query.risk_groups import risk_groups
from tumorbase.query.survival import score_patients, train_survival
from tumorbase.query.survival_features import patient_features
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import InvalidRequest, NotEnoughData, NotFound, Unavailable
from tumorbase.store.store import Store

PATIENTS = [f"p{index:02}" for index in range(36)]
WHOLE = PATIENTS[:32]  # the others lack a modality
GENES = [f"G{index}_rnaseq" for index in range(8)]
GROUPS = {"repair": ["G0", "G1"], "growth": ["G2", "G3", "G4"], "other": ["G0", "G9"]}
DIM = 12
FOLD = ((tuple(WHOLE[:20]), tuple(WHOLE[20:])),)
QUESTION = TrainingQuestion("OS", "mcat", "m", FOLD, seed=3)
# Enough to learn the planted signal of so few patients.
QUICK = Recipe(epochs=6, learning_rate=2e-3, patients_a_step=4)


def signatures() -> StoredEncoder:
    """The encoder of `GROUPS` as it is stored."""
    spec = GeneSignatures(GROUPS, GENES).spec
    return StoredEncoder(
        spec.encoder_id, spec.name, spec.version, spec.level, spec.dim, spec.weights_sha256,
        spec.preprocessing, spec.is_standardised, spec.feature_names,
    )  # fmt: skip


@pytest.fixture(scope="module")
def signal():
    """How soon each patient has the event, float (patients,)."""
    return np.random.default_rng(8).permutation(np.linspace(-2, 2, len(PATIENTS)))


@pytest.fixture(scope="module")
def store(tmp_path_factory, encoder, put, signal):
    """36 patients of whom a gene and the patches tell when the event happens.

    p32 and p33 have no patch, p34 and p35 no profile. A gene of p00 is missing and the last gene is
    the same for all. Endpoint OS has every fourth patient censored, PFS two events.
    """
    rng = np.random.default_rng(1)
    genes = rng.normal(size=(len(PATIENTS), len(GENES)))
    genes[:, 0] = signal
    genes[:, -1] = 7.0
    genes[0, 1] = np.nan
    profiles = [
        {"profile_id": p, "patient_id": p, "panel_id": "panel", "measured": genes[row].tolist()}
        for row, p in enumerate(PATIENTS[:34])
    ]
    with_slides = [*range(32), 34, 35]
    slides = [
        {"slide_id": f"{PATIENTS[row]}-s", "patient_id": PATIENTS[row]} for row in with_slides
    ]
    patches = [
        slide | {"patch_id": f"{slide['slide_id']}{n}"} for slide in slides for n in range(3)
    ]
    vectors = rng.normal(size=(len(slides), 3, DIM)) * 0.3
    vectors[:, :, 0] += signal[with_slides, None]
    outcomes = [
        {"patient_id": p, "endpoint": endpoint, "time_days": 500.0 - 200 * signal[row],
         "is_event": bool(row % 4) if endpoint == "OS" else row < 2}
        for row, p in enumerate(PATIENTS) for endpoint in ("OS", "PFS")
    ]  # fmt: skip
    with Store.create(tmp_path_factory.mktemp("networks") / "store") as store:
        put(
            store,
            "all",
            {
                "patient": [{"patient_id": patient} for patient in PATIENTS],
                "panel": [{"panel_id": "panel", "columns": GENES}],
                "profile": profiles,
                "slide": slides,
                "outcome": outcomes,
            },
            [
                (encoder("look", "patch", DIM), patches, 40 + 0.01 * vectors.reshape(-1, DIM)),
                (signatures(), profiles, np.zeros((len(profiles), 9))),
            ],
        )
        yield store


# The landmarks of TransMIL's attention take a second or more, however small the bag.
@pytest.fixture(scope="module", params=[name for name in ARCHITECTURES if name != "transmil"])
def trained(request, store):
    """A model of each architecture but TransMIL, named as it is."""
    question = replace(QUESTION, architecture=request.param, name=request.param)
    return train_network(store, question, recipe=QUICK)


def test_planted_signal_is_learnt(trained, store, signal):
    assert trained.c_index.mean > 0.65
    scores = score_patients(store.view(), trained.model, WHOLE).scores
    assert np.corrcoef([score.risk for score in scores], signal[:32])[0, 1] > 0.5


def test_scores_have_curves_at_the_edges_of_the_bins(trained, store):
    scored = score_patients(store.view(), trained.model, ["p07", "p03"])
    alone = score_patients(store.view(), trained.model, ["p03"])
    assert [score.patient_id for score in scored.scores] == ["p07", "p03"]
    assert scored.scores[1] == alone.scores[0]
    for score in scored.scores:
        times, probabilities = score.survival.time_days, score.survival.probability
        assert (len(times), times[0], probabilities[0]) == (5, 0.0, 1.0)
        assert (np.diff(times) > 0).all()
        assert (np.diff(probabilities) <= 0).all()
        assert score.risk == pytest.approx(-sum(probabilities[1:]))
        assert 0 <= score.percentile <= 100


def test_receipt_names_the_encoder_and_counts_who_was_left_out(trained):
    takes = ARCHITECTURES[trained.architecture]
    assert trained.receipt.encoder == ("look-1-abc" if takes.takes_patches else "")
    expected = ["patch: 34 of 36 patients"] if takes.takes_patches else []
    expected += ["profile: 34 of 36 patients"] if takes.genes != "none" else []
    both = len(expected) == 2
    notes = trained.receipt.notes
    assert list(notes[:-1]) == expected
    assert notes[-1].startswith(f"{4 if both else 2} patients left out")
    assert trained.patients == (32 if both else 34)


def test_no_patients_have_no_scores(trained, store):
    assert score_patients(store.view(), trained.model, []).scores == ()


def test_risk_groups_are_of_the_patients_held_out(trained, store):
    low, high = risk_groups(store.view(), trained.model).groups
    assert low.patients + high.patients == 12
    assert low.median_days > high.median_days


def test_missing_modality_of_a_patient_is_named(trained, store):
    takes = ARCHITECTURES[trained.architecture]
    if takes.takes_patches:
        with pytest.raises(NotEnoughData, match="'p32' has no patch of look-1-abc"):
            score_patients(store.view(), trained.model, ["p01", "p32"])
    if takes.genes != "none":
        with pytest.raises(NotEnoughData, match="'p34' has no genomic profile"):
            score_patients(store.view(), trained.model, ["p01", "p34"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(store):
    question = replace(QUESTION, architecture="hfbsurv", name="again")
    content = []
    for seed in (3, 3, 4):
        train_network(store, replace(question, seed=seed), recipe=Recipe(epochs=1))
        content.append(store.view().model("again")[1])
    assert content[0] == content[1] != content[2]


def test_inputs_are_standardised_by_the_training_patients_alone(store):
    view = store.view()
    spec = input_spec(view, "mcat")
    inputs, rows = NetworkInputs.read(view, spec, WHOLE), np.arange(20)
    read = inputs.reader(inputs.scaling(rows))
    patches = torch.cat([read(row).patches for row in rows])
    torch.testing.assert_close(patches.mean(dim=0), torch.zeros(DIM), atol=1e-3, rtol=0)
    torch.testing.assert_close(patches.std(dim=0, correction=0), torch.ones(DIM))
    for group in range(3):
        genes = torch.stack([read(row).omics[group] for row in rows])
        torch.testing.assert_close(genes.mean(dim=0), torch.zeros(genes.shape[1]))
    everyone = torch.cat([read(row).patches for row in range(len(WHOLE))])
    assert everyone.mean(dim=0).abs().max() > 0.01


def test_a_gene_that_was_not_measured_is_at_its_mean_and_a_constant_one_at_0(store):
    view = store.view()
    inputs = NetworkInputs.read(view, input_spec(view, "snn"), WHOLE)
    read = inputs.reader(inputs.scaling(np.arange(20)))
    genes = torch.stack([read(row).omics[0] for row in range(32)])
    assert genes[0, 1] == 0
    assert (genes[:, -1] == 0).all()
    assert genes.isfinite().all()


def test_a_profile_without_any_of_the_columns_is_none_and_one_with_few_is_noted(store):
    view = store.view()

    def read(*columns: str) -> NetworkInputs:
        return NetworkInputs.read(view, InputSpec("", 0, columns, None), ["p01", "p02"])

    assert not read("X_rnaseq").present().any()
    few = read(GENES[0], "X_rnaseq", "Y_rnaseq")
    assert few.present().all()
    assert few.notes() == (
        "2 patients have less than half of the 3 genes: the others are taken at their means",
    )
    assert read(GENES[0], "X_rnaseq").notes() == ()


def test_gene_groups_are_those_of_the_signatures(store):
    spec = input_spec(store.view(), "pathgen")
    assert spec.groups.names == ("repair", "growth", "other")
    assert spec.omic_sizes == (2, 3, 1)  # G9 is not in the panel
    assert spec.columns == tuple(GENES[:5])


def test_bags_are_in_the_order_of_their_place_on_the_slide(tmp_path, encoder, put):
    look, slide = encoder("look", "patch", 1), {"slide_id": "s", "patient_id": "p"}
    places = [(5, 0, "a"), (0, 5, "b"), (0, 0, "d"), (0, 0, "c")]  # x, y, id
    patches = [
        slide | {"patch_id": patch_id, "x_level0_px": x, "y_level0_px": y}
        for x, y, patch_id in places
    ]
    with Store.create(tmp_path / "store") as store:
        tables = {"patient": [{"patient_id": "p"}], "slide": [slide]}
        put(store, "all", tables, [(look, patches, [[2], [3], [1], [0]])])
        assert PatchBags(store.view(), look).bag("p").tolist() == [[0], [1], [2], [3]]


def test_bags_beyond_the_memory_for_them_are_read_again(store, monkeypatch):
    view = store.view()
    bags = PatchBags(view, view.encoder("patch", "look"))
    monkeypatch.setattr("tumorbase.query.patch_bags.KEPT_BYTES", 0)
    assert bags.bag("p01") is not bags.bag("p01")
    monkeypatch.undo()
    assert bags.bag("p01") is bags.bag("p01")


def test_what_the_store_lacks_is_named(tmp_path, encoder, put):
    outcome = {"patient_id": "p", "endpoint": "OS", "time_days": 1.0, "is_event": True}
    profile = {"profile_id": "p", "patient_id": "p", "panel_id": "panel", "measured": [1.0]}
    patch = {"patch_id": "1", "slide_id": "s", "patient_id": "p"}
    panel = {"panel_id": "panel", "columns": GENES[:1]}

    def refused(architecture: str, match: str) -> None:
        with pytest.raises(NotEnoughData, match=match):
            train_survival(store, replace(QUESTION, architecture=architecture))

    with Store.create(tmp_path / "store") as store:
        put(store, "outcome", {"patient": [{"patient_id": "p"}], "outcome": [outcome]})
        refused("amil", "amil takes patch vectors, and the store has none")
        refused("snn", "snn takes genomic profiles, and the store has none")
        put(store, "slide", {}, [(encoder("look", "patch", 1), [patch], [[1.0]])])
        refused("mcat", "mcat takes genomic profiles, and the store has none")
        put(store, "genes", {"profile": [profile], "panel": [panel]})
        refused("mcat", "ingest the genomic tables with a signatures.csv")
        put(store, "scores", {}, [(signatures(), [profile], np.zeros((1, 9)))])
        refused("mcat", "panel of 1 columns has none of group 'growth'")
        names_alone = replace(signatures(), encoder_id="old", preprocessing='{"groups":["growth"]}')
        put(store, "old", {}, [(names_alone, [profile], np.zeros((1, 9)))])
        refused("mcat", "mcat takes groups of genes")


def test_unsound_questions_are_refused(store):
    with pytest.raises(InvalidRequest, match="OS, PFS"):
        train_survival(store, replace(QUESTION, endpoint="DFS"))
    with pytest.raises(InvalidRequest, match=r"cox.*snn, mcat"):
        train_survival(store, replace(QUESTION, architecture="forest"))
    with pytest.raises(NotEnoughData, match="at least 10 events"):
        train_survival(store, replace(QUESTION, endpoint="PFS"))
    censored = (PATIENTS[0], PATIENTS[4])
    with pytest.raises(NotEnoughData, match="cannot fit a model on 2 patients"):
        train_survival(store, replace(QUESTION, folds=((censored, tuple(WHOLE[20:])),)))


@pytest.mark.parametrize("allowed", [2, 20], ids=["while it is read", "while it is trained"])
def test_cancelled_training_keeps_nothing(store, allowed):
    """The 20 training patients of the fold are read once to be described, then to be trained on."""
    asked = []

    def is_cancelled() -> bool:
        asked.append(None)
        return len(asked) > allowed

    question = replace(QUESTION, architecture="amil", name="cut")
    with pytest.raises(Unavailable, match="cancelled"):
        train_network(store, question, is_cancelled, Recipe(epochs=1))
    assert len(asked) == allowed + 1
    with pytest.raises(NotFound, match="cut"):
        score_patients(store.view(), "cut", ["p01"])


def test_a_training_that_waits_for_another_ends_when_cancelled(store):
    trains, goes_on = threading.Event(), threading.Event()

    def holds_up() -> bool:
        trains.set()
        goes_on.wait(10)
        return True

    question = replace(QUESTION, architecture="snn", name="cut")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(train_network, store, question, holds_up)
        assert trains.wait(30)
        with pytest.raises(Unavailable, match="cancelled"):
            train_network(store, question, lambda: True)
        assert not first.done()
        goes_on.set()
        assert isinstance(first.exception(), Unavailable)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (
            ["p00", "p04", "p08"],
            WHOLE[20:],
            "cannot fit a model on 3 patients: expected at least 4 events",
        ),
        (WHOLE[:20], ["p20", "p24"], "fold 1: no comparable pair"),
    ],
)
def test_a_later_fold_that_cannot_be_used_is_refused_before_training(store, train, val, message):
    question = replace(QUESTION, architecture="snn", folds=(*FOLD, (tuple(train), tuple(val))))
    read = []
    with pytest.raises(NotEnoughData, match=message):
        train_survival(store, question, lambda: bool(read.append(None)))
    assert read == []


def test_profiles_are_read_once(store, monkeypatch):
    asked = []

    def counted(*arguments):
        asked.append(None)
        return patient_features(*arguments)

    monkeypatch.setattr("tumorbase.query.network_inputs.patient_features", counted)
    train_network(store, replace(QUESTION, architecture="snn"), recipe=Recipe(epochs=1))
    assert len(asked) == 1


def test_reading_a_model_draws_no_random_numbers(store):
    """A training at work in another thread would not get them."""
    train_network(store, replace(QUESTION, architecture="snn"), recipe=Recipe(epochs=1))
    before = torch.get_rng_state()
    read_network(store.view(), "m")
    assert torch.equal(torch.get_rng_state(), before)


def test_model_is_described_in_the_store(store):
    question = replace(QUESTION, architecture="snn", name="described")
    trained = train_network(store, question, recipe=Recipe(epochs=2))
    kind, _, details = store.view().model("described")
    described = json.loads(details)
    assert kind == "survival/network"
    assert described["c_index"] == list(trained.c_index.folds)
    assert described["recipe"]["epochs"] == len(described["losses"]) == 2
