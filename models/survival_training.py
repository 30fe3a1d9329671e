"""Training of discrete-time survival networks: patients in, a fitted network out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tumorbase.models.clam import Clam
from tumorbase.models.pathgen import PathGen, alignment_loss
from tumorbase.models.snn import SNN
from tumorbase.models.survival_bins import bin_classes, sampling_weights
from tumorbase.models.survival_losses import nll_survival_with_logits
from tumorbase.models.survival_output import SurvivalOutput

L1_WEIGHT = 1e-4  # of all weights of an SNN (Chen et al. 2021), here once a step
CLUSTER_SHARE = 0.3  # of CLAM's loss (Lu et al. 2021)
ALIGNMENT_WEIGHT = 0.1  # of PathGen's; decided here

# Weights and dropout are drawn from the one generator of the process, which two trainings at the
# same time would take numbers from by turns: none of them could be repeated.
_one_at_a_time = threading.Lock()
_ASK_AGAIN_SECONDS = 0.5  # while another training runs


@dataclass(frozen=True)
class PatientInputs:
    """What a network sees of one patient.

    `patches` is float32 (patches, dim), of no rows for a network of genes alone; `omics` holds
    vectors of genes, each float32 (size,), none for a network of patches alone.
    """

    patches: Tensor
    omics: tuple[Tensor, ...]

    def to(self, device: str) -> PatientInputs:
        """The same on this device."""
        return PatientInputs(self.patches.to(device), tuple(omic.to(device) for omic in self.omics))


@dataclass(frozen=True)
class Targets:
    """Time bins of patients, int64 (patients,), and whether the event was not seen, bool."""

    time_bin: np.ndarray
    is_censored: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """How a network is trained by Adam; the numbers are those of MCAT (Chen et al. 2021)."""

    epochs: int = 20
    learning_rate: float = 2e-4
    weight_decay: float = 1e-5
    patients_a_step: int = 32  # whose gradients are added up


PUBLISHED = Recipe()


@dataclass(frozen=True)
class Fitted:
    """A trained network on the CPU, in evaluation mode, and the mean loss of each epoch."""

    network: nn.Module
    losses: tuple[float, ...]


def fit_network(
    make_network: Callable[[], nn.Module],
    read: Callable[[int], PatientInputs],
    targets: Targets,
    seed: int,
    device: str,
    recipe: Recipe = PUBLISHED,
    while_waiting: Callable[[], None] = lambda: None,
) -> Fitted:
    """The network after `recipe.epochs` rounds of Adam. One is trained at a time; others wait.

    A round draws as many patients as there are, with replacement, so that every time bin, with and
    without the event, is seen equally often. What is left of a round after its last full step makes
    a smaller step. The same seed gives the same network on the same machine's CPU.

    Args:
        make_network: makes the network, in training mode, for weights of this seed.
        read: gives what the network sees of the patient in a row of `targets`; what it raises ends
            the training.
        targets: of the patients.
        seed: of weights, dropout and draws.
        device: "cpu" or "cuda".
        recipe: numbers of the training.
        while_waiting: called now and then until no other training runs; what it raises ends the
            wait.
    """
    drawn_by = torch.Generator().manual_seed(seed)
    classes = bin_classes(targets.time_bin, targets.is_censored)
    weights = torch.from_numpy(sampling_weights(classes))
    with _alone(while_waiting), torch.random.fork_rng([0] if device == "cuda" else []):
        torch.manual_seed(seed)
        network = make_network().to(device)
        optimizer = torch.optim.Adam(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        losses = []
        for _ in range(recipe.epochs):
            drawn = weights.multinomial(len(weights), replacement=True, generator=drawn_by)
            total = 0.0
            for rows in drawn.split(recipe.patients_a_step):
                optimizer.zero_grad()
                for part in _passes(network, rows.tolist()):
                    batch = [read(row).to(device) for row in part]
                    chosen = Targets(targets.time_bin[part], targets.is_censored[part])
                    loss = training_loss(network, batch, chosen) * len(part)
                    (loss / recipe.patients_a_step).backward()
                    total += loss.item()
                optimizer.step()
            losses.append(total / len(drawn))
    return Fitted(network.cpu().eval(), tuple(losses))


@contextmanager
def _alone(while_waiting: Callable[[], None]) -> Iterator[None]:
    while not _one_at_a_time.acquire(timeout=_ASK_AGAIN_SECONDS):
        while_waiting()
    try:
        yield
    finally:
        _one_at_a_time.release()


def training_loss(
    network: nn.Module, patients: Sequence[PatientInputs], targets: Targets
) -> Tensor:
    """Mean negative log-likelihood of the patients, and what a network adds to it, a scalar.

    An SNN adds the L1 norm of its weights, CLAM the loss of its clusters, for which a patient's
    class is the time bin, and PathGen that of its alignment.

    Args:
        network: of one of the architectures.
        patients: on the network's device; any number for an SNN, one for the others.
        targets: of the patients.
    """
    time_bin = torch.from_numpy(targets.time_bin)
    is_censored = torch.from_numpy(targets.is_censored)

    def likelihood_loss(output: SurvivalOutput) -> Tensor:
        device = output.logits.device
        return nll_survival_with_logits(output.logits, time_bin.to(device), is_censored.to(device))

    if isinstance(network, SNN):
        norm = sum(weight.abs().sum() for weight in network.parameters())
        return likelihood_loss(output_of(network, patients)) + L1_WEIGHT * norm
    if isinstance(network, Clam):
        embedded, scores = network.attend(patients[0].patches)
        clusters = network.cluster_loss(embedded, scores, int(targets.time_bin[0]))
        bag = likelihood_loss(network.classify(embedded, scores))
        return (1.0 - CLUSTER_SHARE) * bag + CLUSTER_SHARE * clusters
    if isinstance(network, PathGen):
        path, genes = network.encode(patients[0].patches, patients[0].omics)
        alignment = alignment_loss(path, genes)
        return likelihood_loss(network.fuse(path, genes)) + ALIGNMENT_WEIGHT * alignment
    return likelihood_loss(output_of(network, patients))


def output_of(network: nn.Module, patients: Sequence[PatientInputs]) -> SurvivalOutput:
    """The network's output of the patients: any number for an SNN, one for the others."""
    first = patients[0]
    if isinstance(network, SNN):
        profiles = torch.stack([patient.omics[0] for patient in patients])  # (patients, input_dim)
        output: SurvivalOutput = network(profiles)
    elif first.omics:
        output = network(first.patches, first.omics)
    else:
        output = network(first.patches)
    return output


def predict_survival(
    network: nn.Module, patients: Iterable[PatientInputs], device: str
) -> np.ndarray:
    """Probability to be free of the event past the end of each time bin, float64 (patients, bins).

    Patients, at least one, go through the network one at a time: who else is asked about changes
    nothing. The network is on the CPU afterwards, in evaluation mode.
    """
    network = network.to(device).eval()
    with torch.inference_mode():
        rows = [output_of(network, [patient.to(device)]).survival[0].cpu() for patient in patients]
    network.cpu()
    return torch.stack(rows).double().numpy()


def _passes(network: nn.Module, rows: list[int]) -> list[list[int]]:
    """Which rows go through the network together: bags differ in size and so go one by one."""
    return [rows] if isinstance(network, SNN) else [[row] for row in rows]
