"""The genomic SNN equals the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import assert_golden, fill, seeded
from tumorbase.models.snn import SNN
from tumorbase.models.survival_losses import nll_survival_with_logits

VARIANTS = [("small", 80), ("big", 500)]


@pytest.mark.parametrize(("size", "dim"), VARIANTS)
def test_features_and_hazards_are_golden(shared, size: str, dim: int) -> None:
    golden = np.load(shared / "reference" / "mcat" / "golden.npz")
    seed, input_dim = (int(value) for value in golden[f"snn_{size}/seed_dim"])
    profile = torch.from_numpy(seeded(seed).standard_normal(input_dim).astype(np.float32))[None]
    network = fill(SNN(dim, size))
    output = network(profile)
    assert_golden(network.features(profile)[0], golden[f"snn_{size}/features"])
    assert_golden(output.hazards, golden[f"snn_{size}/hazards"])
    assert_golden(output.survival, golden[f"snn_{size}/S"])
    assert (
        output.logits.argmax(dim=1, keepdim=True).tolist() == golden[f"snn_{size}/Y_hat"].tolist()
    )


def test_weights_start_with_the_deviation_of_self_normalising_networks() -> None:
    torch.manual_seed(0)
    block = SNN(400).fc_omic[0][0]
    assert block.weight.std().item() == pytest.approx(1 / 20, rel=0.02)
    assert block.bias.eq(0).all()


def test_a_batch_is_learnt_by_heart_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network, profiles = SNN(20, n_classes=3).train(), torch.randn(6, 20)
    bins, censored = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = nll_survival_with_logits(network(profiles).logits, bins, censored)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size must be one of small, big, got 'huge'"):
        SNN(10, size="huge")
