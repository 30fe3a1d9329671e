"""The penalised Cox path: its optimality conditions, and its agreement with other solvers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tumorbase.models.cox_path import cox_path


def cohort(patients: int, features: int, seed: int = 0, decimals: int = 6):
    """Patients whose first three features drive an exponential hazard; a third is censored."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((patients, features))
    time = rng.exponential(np.exp(-x[:, :3].sum(axis=1) * 0.7)) * 100
    censored = rng.exponential(200, patients)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x, np.round(np.minimum(time, censored) + 0.01, decimals), time <= censored


def efron_terms(time, event):
    """Each event as its definition has it: (event, risk set, tied events, share of the tied)."""
    for moment in np.unique(time[event]):
        tied = np.flatnonzero(event & (time == moment))
        for place, i in enumerate(tied):
            yield i, time >= moment, tied, place / len(tied)


def negative_log_likelihood(x, time, event, coefficients):
    """Efron's partial likelihood, written down as its definition, over n."""
    risk = x @ coefficients
    total = 0.0
    for i, at_risk, tied, share in efron_terms(time, event):
        hazard = np.exp(risk)
        total += risk[i] - np.log(hazard[at_risk].sum() - share * hazard[tied].sum())
    return -total / len(time)


@pytest.mark.parametrize("decimals", [6, 0])
def test_without_l1_the_path_is_the_minimum_of_the_ridge_objective(decimals):
    x, time, event = cohort(60, 4, decimals=decimals)  # no decimals: many ties
    penalties, path = cox_path(x, time, event, 1e-9, np.array([0.1, 0.02]))
    for penalty, coefficients in zip(penalties, path, strict=True):
        best = minimize(
            lambda b, p=penalty: negative_log_likelihood(x, time, event, b) + p / 2 * (b**2).sum(),
            np.zeros(4),
            tol=1e-12,
        )
        np.testing.assert_allclose(coefficients, best.x, atol=1e-3)


@pytest.mark.parametrize(
    ("patients", "features", "l1_ratio"), [(80, 300, 0.5), (80, 300, 0.05), (200, 10, 1.0)]
)
def test_every_penalty_meets_the_optimality_conditions(patients, features, l1_ratio):
    x, time, event = cohort(patients, features)
    penalties, path = cox_path(x, time, event, l1_ratio)
    assert not path[0].any()
    assert path[-1].any()
    for penalty, b in zip(penalties, path, strict=True):
        gradient = gradient_of(x, time, event, b) + penalty * (1 - l1_ratio) * b
        pull = penalty * l1_ratio
        at_zero = b == 0
        assert np.abs(gradient[at_zero]).max(initial=0) <= pull * 1.01 + 1e-5
        np.testing.assert_allclose(
            gradient[~at_zero], -pull * np.sign(b[~at_zero]), atol=2e-3 * pull + 2e-4
        )


def gradient_of(x, time, event, coefficients):
    """The gradient of `negative_log_likelihood`, from the risk sets."""
    hazard = np.exp(x @ coefficients)
    total = np.zeros(x.shape[1])
    for i, at_risk, tied, share in efron_terms(time, event):
        weight = at_risk * hazard
        weight[tied] *= 1 - share
        total += x[i] - weight @ x / weight.sum()
    return -total / len(time)


def test_the_planted_features_come_first():
    x, time, event = cohort(300, 500, seed=3)
    _, path = cox_path(x, time, event, 1.0)
    first = next(b for b in path if np.count_nonzero(b) >= 3)
    assert set(np.argsort(-np.abs(first))[:3]) == {0, 1, 2}
