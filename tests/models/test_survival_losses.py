"""Survival losses against the published values, worked examples, lifelines and finite numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from torch import Tensor

from tumorbase.models.concordance import concordance_index
from tumorbase.models.survival_losses import (
    ce_survival,
    cox_partial,
    mmo,
    multi_task,
    nll_survival,
    nll_survival_with_logits,
)
from tumorbase.models.survival_output import SurvivalOutput

ALPHAS = [0.0, 0.15, 0.4, 1.0]


@pytest.fixture(scope="module")
def golden(shared) -> dict[str, Tensor]:
    """The stored logits, bins, censorship and times of 16 patients, and the losses of them."""
    stored = np.load(shared / "reference" / "mcat" / "golden.npz")
    return {
        key.removeprefix("loss/"): torch.from_numpy(np.asarray(stored[key]))
        for key in stored.files
        if key.startswith("loss/")
    }


@pytest.mark.parametrize("alpha", ALPHAS)
def test_likelihood_and_cross_entropy_are_golden(golden, alpha) -> None:
    output = SurvivalOutput.from_logits(golden["logits"])
    patients = golden["Y"], golden["c"]
    likelihood = nll_survival(output.hazards, output.survival, *patients, alpha)
    from_logits = nll_survival_with_logits(golden["logits"], *patients, alpha)
    cross_entropy = ce_survival(output.hazards, output.survival, *patients, alpha)
    assert likelihood.item() == pytest.approx(golden[f"nll_alpha{alpha}"].item(), rel=1e-5)
    assert from_logits.item() == pytest.approx(golden[f"nll_alpha{alpha}"].item(), rel=1e-5)
    assert cross_entropy.item() == pytest.approx(golden[f"ce_alpha{alpha}"].item(), rel=1e-5)


def test_likelihood_of_each_patient_is_golden(golden) -> None:
    for patient, expected in enumerate(golden["nll_alpha0_per_sample"].tolist()):
        one = slice(patient, patient + 1)
        loss = nll_survival_with_logits(golden["logits"][one], golden["Y"][one], golden["c"][one])
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "censored"), [("c01", [0, 1]), ("c10", [1, 0])])
def test_saturated_hazards_count_as_eps_like_the_published(golden, name, censored) -> None:
    hazards = torch.tensor([[1.0] * 4, [0.0] * 4])
    survival = (1.0 - hazards).cumprod(dim=1)
    bins, is_censored = torch.tensor([[3], [1]]), torch.tensor(censored)[:, None]
    loss = nll_survival(hazards, survival, bins, is_censored)
    assert loss.item() == pytest.approx(golden[f"nll_saturated_Y31_{name}_alpha0"].item(), rel=1e-6)


def test_saturated_hazards_still_learn_from_their_logits() -> None:
    logits = torch.tensor([[60.0, 60.0], [-60.0, -60.0]], requires_grad=True)
    # One hazard is 1 in float32 though the patient lived on, the other 0 though he did not.
    loss = nll_survival_with_logits(logits, torch.tensor([1, 0]), torch.tensor([1, 0]))
    loss.backward()
    assert loss.item() == pytest.approx((60 + 60 + 60) / 2)
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, 0.5], [-0.5, 0.0]]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_cross_entropy_of_saturated_hazards_is_finite(value) -> None:
    hazards = torch.full((2, 3), value, requires_grad=True)
    survival = (1.0 - hazards).cumprod(dim=1)
    loss = ce_survival(hazards, survival, torch.tensor([0, 2]), torch.tensor([0, 1]), alpha=0.4)
    loss.backward()
    assert loss.isfinite()
    assert hazards.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences(golden) -> None:
    logits = golden["logits"].double().requires_grad_()
    log_risk, time = golden["cox_theta"].double().requires_grad_(), golden["time"].round()
    bins, censored = golden["Y"], golden["c"]

    def hazard_losses(logits: Tensor) -> Tensor:
        output = SurvivalOutput.from_logits(logits)
        parts = output.hazards, output.survival, bins, censored, 0.3
        return nll_survival(*parts) + ce_survival(*parts)

    assert torch.autograd.gradcheck(hazard_losses, logits)
    assert torch.autograd.gradcheck(
        lambda logits: nll_survival_with_logits(logits, bins, censored, 0.3), logits
    )
    for ties in ("breslow", "efron"):
        assert torch.autograd.gradcheck(
            lambda risk, ties=ties: cox_partial(risk, time, censored, ties), log_risk
        )


def test_cox_is_golden(golden) -> None:
    loss = cox_partial(golden["cox_theta"], golden["time"], golden["c"])
    assert loss.item() == pytest.approx(golden["cox"].item(), rel=1e-5)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_cox_with_ties_follows_a_worked_example(ties) -> None:
    # Three patients at time 1, two of them events, one event at time 2; risks exp(x) = 1, 2, 3, 4.
    log_risk = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).log()
    time, censored = torch.tensor([1, 1, 1, 2]), torch.tensor([0, 0, 1, 0])
    second = {"breslow": 2 / 10, "efron": 2 / (10 - 3 / 2)}[ties]
    expected = -(np.log(1 / 10) + np.log(second) + np.log(4 / 4)) / 4
    assert cox_partial(log_risk, time, censored, ties).item() == pytest.approx(expected)


def test_efron_s_loss_is_least_where_lifelines_fits() -> None:
    random = np.random.default_rng(0)
    x, time = random.normal(size=120), random.integers(1, 15, 120)
    event = random.random(120) < 0.7
    fitted = CoxPHFitter().fit(
        pd.DataFrame({"x": x, "time": time, "event": event}), "time", "event"
    )
    slope = torch.tensor(fitted.params_["x"], dtype=torch.float64, requires_grad=True)
    covariate, times, censored = (
        torch.from_numpy(x),
        torch.from_numpy(time),
        torch.from_numpy(~event),
    )
    loss = cox_partial(slope * covariate, times, censored, ties="efron")
    assert -120 * loss.item() == pytest.approx(fitted.log_likelihood_, rel=1e-9)
    loss.backward()
    assert slope.grad.item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_cox_stays_finite_for_large_risks_and_no_event(ties) -> None:
    log_risk = torch.tensor([800.0, -800.0, 0.0], requires_grad=True)
    cox_partial(log_risk, torch.tensor([1.0, 1.0, 2.0]), torch.tensor([0, 0, 0]), ties).backward()
    assert log_risk.grad.isfinite().all()
    assert cox_partial(log_risk, torch.ones(3), torch.ones(3), ties).item() == 0.0


def test_unknown_ties_are_refused() -> None:
    with pytest.raises(ValueError, match="ties must be breslow or efron, got 'exact'"):
        cox_partial(torch.zeros(2), torch.ones(2), torch.zeros(2), ties="exact")


def test_risk_of_the_golden_hazards_orders_patients_as_published(golden) -> None:
    risk = SurvivalOutput.from_logits(golden["logits"]).risk
    torch.testing.assert_close(risk, golden["risk"])
    is_event = golden["c"].numpy() == 0
    concordance = concordance_index(golden["time"].numpy(), is_event, risk.numpy())
    assert concordance == pytest.approx(golden["cindex"].item())


def test_multi_task_of_grade_and_hazard_is_golden(shared) -> None:
    stored = np.load(shared / "reference" / "smurf" / "golden.npz")
    grade, predicted = (torch.from_numpy(stored[f"loss/{key}"]) for key in ("grade", "pred_grade"))
    hazard, time, event = (
        torch.from_numpy(stored[f"loss/{key}"]) for key in ("pred_hazard", "time", "event")
    )
    grade_loss = torch.nn.functional.binary_cross_entropy_with_logits(predicted, grade)
    loss = multi_task(grade_loss, cox_partial(hazard, time, 1.0 - event), gamma=0.5)
    assert loss.item() == pytest.approx(stored["loss/total_gamma0p5"].item(), rel=1e-5)


def test_mmo_is_0_of_orthogonal_modalities_and_most_of_equal_ones() -> None:
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    first, second = basis[:, :2], 3.0 * basis[:, 2:5]
    assert mmo([first, second]).item() == pytest.approx(0.0, abs=1e-12)
    # The same twice: of both norms of 2 only sqrt(2) times one is left, over 2 x 6.
    assert mmo([first, first]).item() == pytest.approx((4 - 2 * 2**0.5) / 12)


def test_mmo_does_not_reward_an_embedding_that_vanishes() -> None:
    basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    losses = [mmo([scale * basis[:, :1], basis[:, 1:3]]).item() for scale in (1.0, 0.1, 0.0)]
    assert losses == pytest.approx([0.0, 0.9 / 8, 1.0 / 8], abs=1e-12)


@pytest.mark.parametrize("name", ["nll", "nll_with_logits", "ce", "breslow", "efron", "mmo"])
def test_one_batch_is_overfitted(name) -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, requires_grad=True)
    bins, censored = torch.tensor([0, 1, 2, 3, 2, 1]), torch.tensor([0, 0, 0, 0, 1, 1])
    time = torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 5.0])

    def loss() -> Tensor:
        output = SurvivalOutput.from_logits(logits)
        match name:
            case "nll":
                return nll_survival(output.hazards, output.survival, bins, censored)
            case "nll_with_logits":
                return nll_survival_with_logits(logits, bins, censored)
            case "ce":
                return ce_survival(output.hazards, output.survival, bins, censored)
            case "mmo":
                return mmo([logits[:, :2], logits[:, 2:]])
            case _:
                # Two events at time 1 share its risk set: their loss is at least 2 log 2, or log 2.
                floor = np.log(2.0) * (2 if name == "breslow" else 1) / 6
                return cox_partial(logits[:, 0], time, censored, name) - floor

    optimizer, before = torch.optim.Adam([logits], lr=0.1), loss().item()
    for _ in range(200):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert -1e-6 <= loss().item() < 0.05 * before
