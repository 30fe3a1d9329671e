"""The loop that trains survival networks, and what each network adds to the loss."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tumorbase.models.pathgen import alignment_loss
from tumorbase.models.survival_architectures import ARCHITECTURES, make_network
from tumorbase.models.survival_losses import nll_survival_with_logits
from tumorbase.models.survival_training import (
    PatientInputs,
    Recipe,
    Targets,
    fit_network,
    output_of,
    predict_survival,
    training_loss,
)

PATCH_DIM = 6
OMIC_SIZES = {"none": (), "panel": (5,), "groups": (2, 3)}
TARGETS = Targets(np.array([0, 1, 2, 3]), np.array([False, False, True, False]))
RECIPE = Recipe(epochs=3, patients_a_step=2)


def patients(name: str) -> list[PatientInputs]:
    """Four patients of random numbers, with 1 to 4 patches."""
    drawn, takes = torch.Generator().manual_seed(0), ARCHITECTURES[name]
    return [
        PatientInputs(
            torch.randn(1 + row, PATCH_DIM, generator=drawn)
            if takes.takes_patches
            else torch.empty(0, 0),
            tuple(torch.randn(size, generator=drawn) for size in OMIC_SIZES[takes.genes]),
        )
        for row in range(4)
    ]


def network(name: str) -> torch.nn.Module:
    """A network of the architecture without dropout."""
    torch.manual_seed(0)
    return make_network(name, PATCH_DIM, OMIC_SIZES[ARCHITECTURES[name].genes]).eval()


def fit(name: str, seed: int = 0, recipe: Recipe = RECIPE):
    """What `fit_network` makes of the four patients."""
    make, read = lambda: network(name).train(), patients(name).__getitem__
    return fit_network(make, read, TARGETS, seed, "cpu", recipe)


def likelihood(name: str, row: int) -> torch.Tensor:
    """The part of a patient's loss that all networks have."""
    output = output_of(network(name), [patients(name)[row]])
    bins, censored = torch.tensor([row]), torch.tensor([bool(TARGETS.is_censored[row])])
    return nll_survival_with_logits(output.logits, bins, censored)


def loss(name: str, *rows: int) -> torch.Tensor:
    """The training loss of these patients."""
    chosen = list(rows)
    targets = Targets(TARGETS.time_bin[chosen], TARGETS.is_censored[chosen])
    return training_loss(network(name), [patients(name)[row] for row in rows], targets)


@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES if name not in ("snn", "clam", "pathgen")]
)
def test_the_loss_is_that_of_the_hazards(name):
    torch.testing.assert_close(loss(name, 2), likelihood(name, 2))


def test_an_snn_adds_its_weights_and_takes_patients_together():
    norm = sum(weight.abs().sum() for weight in network("snn").parameters())
    rows = range(4)
    mean = torch.stack([likelihood("snn", row) for row in rows]).mean()
    torch.testing.assert_close(loss("snn", *rows), mean + 1e-4 * norm)


def test_clam_gives_three_tenths_to_its_clusters():
    clam, patient = network("clam"), patients("clam")[3]
    clusters = clam.cluster_loss(*clam.attend(patient.patches), label=3)
    torch.testing.assert_close(loss("clam", 3), 0.7 * likelihood("clam", 3) + 0.3 * clusters)


def test_pathgen_adds_a_tenth_of_its_alignment():
    pathgen, patient = network("pathgen"), patients("pathgen")[1]
    alignment = alignment_loss(*pathgen.encode(patient.patches, patient.omics))
    expected = likelihood("pathgen", 1) + 0.1 * alignment
    torch.testing.assert_close(loss("pathgen", 1), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_changes_the_weights_of_every_architecture(name):
    target = Targets(np.array([2]), np.array([False]))
    make, read = lambda: network(name).train(), patients(name).__getitem__
    fitted = fit_network(make, read, target, 0, "cpu", Recipe(epochs=1))
    assert np.isfinite(fitted.losses).all()
    before, after = network(name).state_dict(), fitted.network.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_losses_of_the_epochs_fall():
    losses = fit("hfbsurv", recipe=Recipe(epochs=40, learning_rate=1e-2)).losses
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_the_same_seed_gives_the_same_network_and_leaves_the_process_s_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = fit("porpoise")
    assert torch.equal(torch.rand(3), expected)
    again, other = fit("porpoise"), fit("porpoise", seed=1)
    assert first.losses == again.losses != other.losses
    for key, weights in first.network.state_dict().items():
        assert torch.equal(weights, again.network.state_dict()[key])


def test_every_class_of_patients_is_drawn_equally_often():
    drawn = []

    def read(row: int) -> PatientInputs:
        drawn.append(row)
        return patients("hfbsurv")[row % 4]

    # Of 40 patients one is censored, and thus every second one drawn.
    targets = Targets(np.zeros(40, dtype=np.int64), np.arange(40) == 7)
    fit_network(lambda: network("hfbsurv").train(), read, targets, 0, "cpu", Recipe(epochs=5))
    assert len(drawn) == 200
    assert 80 < drawn.count(7) < 120


def test_what_is_left_of_an_epoch_makes_a_step_of_its_own(monkeypatch):
    steps = []

    class Counted(torch.optim.Adam):
        def step(self, closure=None):
            steps.append(None)
            return super().step(closure)

    monkeypatch.setattr("torch.optim.Adam", Counted)
    fit("snn", recipe=Recipe(epochs=2, patients_a_step=3))
    assert len(steps) == 4  # of 3 patients and of 1, twice


def test_what_is_raised_by_a_reader_ends_the_training():
    def stop(row: int) -> PatientInputs:
        raise KeyError(row)

    with pytest.raises(KeyError):
        fit_network(lambda: network("snn").train(), stop, TARGETS, 0, "cpu", RECIPE)
    assert len(fit("snn").losses) == 3  # the next training is not held up


def test_a_training_waits_for_another_until_its_wait_is_ended():
    def stop() -> None:
        raise KeyError

    def make() -> torch.nn.Module:
        return network("snn").train()

    def read(row: int) -> PatientInputs:
        """While this training runs, another one waits."""
        other = pool.submit(fit_network, make, read_at_once, TARGETS, 0, "cpu", RECIPE, stop)
        with pytest.raises(KeyError):
            other.result(timeout=10)
        return read_at_once(row)

    read_at_once = patients("snn").__getitem__
    with ThreadPoolExecutor(1) as pool:
        fitted = fit_network(make, read, TARGETS, 0, "cpu", Recipe(epochs=1), stop)
    assert len(fitted.losses) == 1


@pytest.mark.parametrize("name", ["snn", "clam", "porpoise"])
def test_survival_falls_and_does_not_depend_on_who_else_is_asked_about(name):
    together = predict_survival(network(name), patients(name), "cpu")
    alone = predict_survival(network(name), patients(name)[2:3], "cpu")
    assert together.shape == (4, 4)
    assert (np.diff(together, axis=1) <= 0).all()
    assert ((together >= 0) & (together <= 1)).all()
    np.testing.assert_array_equal(together[2:3], alone)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_train_on_a_gpu(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    make, read = lambda: network(name).train(), patients(name).__getitem__
    fitted = fit_network(make, read, TARGETS, 0, "cuda", RECIPE)
    on_gpu = predict_survival(fitted.network, patients(name), "cuda")
    np.testing.assert_allclose(
        on_gpu, predict_survival(fitted.network, patients(name), "cpu"), rtol=1e-3
    )
