"""What holds for every network that gives the hazards of one patient from a bag of patches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tumorbase.models.clam import Clam
from tumorbase.models.networks import build
from tumorbase.models.survival_losses import nll_survival
from tumorbase.models.survival_output import SurvivalOutput

SIZES = (7, 6, 5, 4, 3, 2)
BINS = 4
Patient = tuple[Tensor, ...]  # the bag, then a vector for each group of genes

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "amil": lambda: build("amil"),
    "clam single": lambda: build("clam"),
    "clam multi": lambda: build("clam", branches="multi"),
    "transmil": lambda: build("transmil"),
    "mcat": lambda: build("mcat", omic_sizes=SIZES),
    "mcat bilinear": lambda: build("mcat", omic_sizes=SIZES, fusion="bilinear"),
    "motcat": lambda: build("motcat", omic_sizes=SIZES),
    "porpoise": lambda: build("porpoise", omic_sizes=SIZES),
    "hfbsurv": lambda: build("hfbsurv", omic_sizes=SIZES),
    "pathgen": lambda: build("pathgen", omic_sizes=SIZES),
}
MULTIMODAL = ("mcat", "mcat bilinear", "motcat", "porpoise", "hfbsurv", "pathgen")
ORDERLESS = [name for name in NETWORKS if name != "transmil"]


def patient(patches: int, seed: int = 0) -> Patient:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(patches, 1024, generator=generator).clamp(min=0),
        *(torch.randn(size, generator=generator) for size in SIZES),
    )


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]()


def answer(name: str, network: nn.Module, of: Patient) -> SurvivalOutput:
    output = network(of[0], of[1:]) if name in MULTIMODAL else network(of[0])
    assert isinstance(output, SurvivalOutput)
    return output


@pytest.mark.parametrize("patches", [1, 2, 19])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_bag_of_any_size_gives_one_patients_hazards(name: str, patches: int) -> None:
    output = answer(name, made(name).eval(), patient(patches))
    assert output.hazards.shape == (1, BINS)
    assert output.risk.shape == (1,)
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bag_of_one_patch_can_be_learned_from(name: str) -> None:
    network = made(name).train()
    answer(name, network, patient(1)).logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ORDERLESS)
def test_the_order_of_the_patches_does_not_matter(name: str) -> None:
    network = made(name).eval()
    bag, *omics = patient(19)
    there, back = (answer(name, network, (b, *omics)).logits for b in (bag, bag.flip(0)))
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_are_the_same_each_time(name: str) -> None:
    network = made(name).eval()
    first, second = (answer(name, network, patient(19)).logits for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", MULTIMODAL)
def test_genes_matter(name: str) -> None:
    network = made(name).eval()
    bag, *omics = patient(5)
    other = [omics[0] + 1.0, *omics[1:]]
    with_these, with_those = (answer(name, network, (bag, *o)).logits for o in (omics, other))
    assert not torch.allclose(with_these, with_those)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = made(name).train()
    of = patient(19)
    answer(name, network, of).logits.square().sum().backward()
    if isinstance(network, Clam):  # whose instance classifiers are trained by a loss of their own
        network.cluster_loss(*network.attend(of[0]), label=1).backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    # A softmax is the same whatever is added to all of its scores: rounding decides these.
    scores = "attention_c.bias"
    still = [n for n, g in gradients.items() if not g.any() and not n.endswith(scores)]
    assert still == []


@pytest.mark.parametrize("name", NETWORKS)
def test_an_empty_bag_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least one patch"):
        answer(name, made(name), patient(0))


@pytest.mark.parametrize("name", MULTIMODAL)
def test_genes_of_another_size_are_refused(name: str) -> None:
    bag, *omics = patient(3)
    with pytest.raises(ValueError, match="omics must have the sizes"):
        answer(name, made(name), (bag, *omics[:-1]))


@pytest.mark.parametrize("name", NETWORKS)
def test_two_patients_can_be_learned_by_heart(name: str) -> None:
    """One has the event in the third bin, the other is censored in the second.

    The loss is 0 where the event is certain in its bin, and not before it or the censoring.
    """
    patients = [patient(12, seed) for seed in range(2)]
    bins, censored = torch.tensor([2, 1]), torch.tensor([0.0, 1.0])
    network = made(name).eval()  # no dropout: it is about what the network can express
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    while len(losses) < 40 and (not losses or losses[-1] > 0.1):
        outputs = [answer(name, network, of) for of in patients]
        hazards = torch.cat([output.hazards for output in outputs])
        survival = torch.cat([output.survival for output in outputs])
        loss = nll_survival(hazards, survival, bins, censored)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1.0
    assert losses[-1] < 0.1
