"""The loss of SMuRF equals the reference's by its name, and can be driven to its least."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tumorbase.models.networks import build
from tumorbase.models.smurf import SmurfConfig
from tumorbase.models.smurf_losses import smurf_loss, smurf_loss_as_published


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "smurf" / "golden.npz")


@pytest.mark.parametrize(("gamma", "name"), [(0.0, "cox"), (0.5, "total_gamma0p5"), (1.0, "bce")])
def test_published_loss_equals_the_reference(
    golden: Mapping[str, np.ndarray], gamma: float, name: str
) -> None:
    logits, *others = _arguments(golden)
    loss = smurf_loss_as_published(logits, *others, gamma)
    assert loss.item() == pytest.approx(float(golden[f"loss/{name}"]), rel=1e-4)


def test_grade_counts_by_its_probability(golden: Mapping[str, np.ndarray]) -> None:
    logits, hazard, grade, time, is_censored = _arguments(golden)
    probability = torch.from_numpy(golden["loss/pred_grade"])
    expected = -(grade * probability.log() + (1 - grade) * (1 - probability).log()).mean()
    loss = smurf_loss(logits, hazard, grade, time, is_censored, gamma=1.0)
    torch.testing.assert_close(loss, expected)


def test_loss_equals_a_worked_example() -> None:
    """Grades known with a half; of two events the first was at risk with the other."""
    hazard, time = torch.tensor([0.8, 0.2]), torch.tensor([1.0, 2.0])
    cox = -(0.8 - math.log(math.exp(0.8) + math.exp(0.2)) + 0.0) / 2
    loss = smurf_loss(torch.zeros(2), hazard, torch.tensor([0.0, 1.0]), time, torch.zeros(2), 0.25)
    assert loss.item() == pytest.approx(0.25 * math.log(2) + 0.75 * cox)


def test_one_batch_is_learned_by_heart() -> None:
    """Its grades, and which of its patients comes first; without dropout, which is noise."""
    torch.manual_seed(0)
    network = build("smurf", config=SmurfConfig(fusion="concatenation"))
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    tumour, node = torch.rand(2, 4, 4, 3, 16, 16)
    grids = torch.randn(4, 1, 192, 8, 8)
    grade, time = torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(40):
        output = network(tumour, node, grids)
        loss = smurf_loss(output.grade_logits, output.hazard, grade, time, torch.zeros(4), 0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.equal(output.grade_logits > 0, grade > 0.5)
    assert output.hazard.argsort(descending=True).tolist()[0] == 0
    # Hazards from 0 to 1 leave Cox's part a least of its own.
    assert smurf_loss(output.grade_logits, output.hazard, grade, time, torch.zeros(4), 1.0) < 0.05


def _arguments(golden: Mapping[str, np.ndarray]) -> tuple[Tensor, ...]:
    """Logits, hazard, grade, time and whether the event was not seen."""
    names = ("pred_grade", "pred_hazard", "grade", "time", "event")
    probability, hazard, grade, time, event = (
        torch.from_numpy(golden[f"loss/{name}"]) for name in names
    )
    return probability.logit(), hazard, grade, time, 1.0 - event
