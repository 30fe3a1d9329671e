"""Hazards, survival and risk that follow from logits."""

from __future__ import annotations

import torch

from tumorbase.models.survival_output import SurvivalOutput


def test_survival_and_risk_follow_from_the_hazards() -> None:
    output = SurvivalOutput.from_logits(torch.tensor([[0.0, 0.0], [-50.0, 50.0]]))
    torch.testing.assert_close(output.hazards, torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    torch.testing.assert_close(output.survival, torch.tensor([[0.5, 0.25], [1.0, 0.0]]))
    torch.testing.assert_close(output.risk, torch.tensor([-0.75, -1.0]))


def test_a_higher_hazard_is_a_higher_risk() -> None:
    risk = SurvivalOutput.from_logits(torch.tensor([[1.0, 0.0], [0.0, 0.0]])).risk
    assert risk[0] > risk[1]
