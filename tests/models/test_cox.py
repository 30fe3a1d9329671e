"""The elastic-net Cox model against lifelines, planted truths and real genomes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from tumorbase.models.concordance import concordance_index
from tumorbase.models.cox import (
    breslow_baseline,
    cox_risk,
    fit_cox,
    log_partial_likelihood,
    stratified_folds,
    survival_probability,
)
from tumorbase.models.cox_path import cox_path


@pytest.fixture
def small():
    """200 patients, 4 standardised features of which two act, times with ties."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 4))
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    hazard = np.exp(features @ [0.8, -0.5, 0.0, 0.0])
    event_days, censored_days = rng.exponential(300 / hazard), rng.exponential(500, 200)
    time_days = np.ceil(np.minimum(event_days, censored_days) / 10)
    return features, time_days, event_days <= censored_days


@pytest.fixture
def lifelines_fit(small):
    """The lifelines model of `small` without a penalty."""
    features, time_days, is_event = small
    table = pd.DataFrame(features).assign(time=time_days, event=is_event)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lifelines calls pandas in ways that pandas 4 drops
        return CoxPHFitter().fit(table, "time", "event")


def test_unpenalised_coefficients_equal_lifelines(small, lifelines_fit):
    _, path = cox_path(*small, l1_ratio=0.5, penalties=np.array([1e-9]))
    np.testing.assert_allclose(path[0], lifelines_fit.params_, rtol=1e-2)


def test_breslow_baseline_equals_lifelines(small, lifelines_fit):
    features, time_days, is_event = small
    risk = features @ lifelines_fit.params_.to_numpy()
    times, hazard = breslow_baseline(time_days, is_event, risk)
    expected = lifelines_fit.baseline_cumulative_hazard_.loc[times].iloc[:, 0]
    np.testing.assert_allclose(hazard, expected, rtol=1e-6)


def test_partial_likelihood_equals_the_definition(small):
    features, time_days, is_event = small
    risks = features[:, :2]
    expected = sum(
        risks[i] - np.log(np.exp(risks[time_days >= time_days[i]]).sum(axis=0))
        for i in np.flatnonzero(is_event)
    )
    np.testing.assert_allclose(log_partial_likelihood(time_days, is_event, risks), expected)


def test_planted_signal_is_found_among_noise():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(400, 500))
    time_days = rng.exponential(np.exp(-1.2 * features[:, 7]))
    is_event = rng.random(400) < 0.7
    model = fit_cox(features[:300], time_days[:300], is_event[:300], seed=0)
    assert np.abs(model.coefficients).argmax() == 7
    assert model.coefficients[7] > 0  # a higher value, a sooner event
    assert concordance_index(time_days[300:], is_event[300:], cox_risk(model, features[300:])) > 0.7


def test_few_large_effects_make_a_sparse_model_and_many_small_ones_a_dense_one():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 300))
    few, many = features[:, 0] + features[:, 1], features[:, :40].sum(axis=1) / 6
    is_event = rng.random(200) < 0.8
    for hazard, l1_ratio in ((few, 0.5), (many, 0.05)):
        time_days = rng.exponential(np.exp(-hazard))
        assert fit_cox(features, time_days, is_event, seed=0).l1_ratio == l1_ratio


def test_a_missing_feature_counts_as_the_mean(small):
    features, time_days, is_event = small
    features = features + 5.0
    features[::7, 1] = np.nan
    model = fit_cox(features, time_days, is_event, seed=0)
    present = features[~np.isnan(features[:, 1]), 1]
    assert model.mean[1] == pytest.approx(present.mean())
    row = np.array([[5.0, np.nan, 5.0, 5.0]])
    filled = np.array([[5.0, present.mean(), 5.0, 5.0]])
    assert cox_risk(model, row) == pytest.approx(cox_risk(model, filled))


def test_survival_starts_near_one_falls_and_is_lower_at_higher_risk(small):
    model = fit_cox(*small, seed=0)
    low, high = survival_probability(model, np.array([-1.0, 1.0]))
    assert (np.diff(low) < 0).all()
    assert (low > high).all()
    assert 0.9 < low[0] < 1


def test_same_seed_same_model(small):
    first, second = fit_cox(*small, seed=3), fit_cox(*small, seed=3)
    assert first.penalty == second.penalty
    assert (first.coefficients == second.coefficients).all()


def test_folds_hold_equal_shares_of_events():
    is_event = np.arange(103) % 4 == 0
    fold_of = stratified_folds(is_event, 5, seed=1)
    assert np.ptp(np.bincount(fold_of)) <= 1
    assert np.ptp(np.bincount(fold_of[is_event])) <= 1


def test_too_few_events_are_refused(small):
    features, time_days, _ = small
    with pytest.raises(ValueError, match="at least 5 events"):
        fit_cox(features, time_days, np.arange(200) < 3, seed=0)


def test_features_without_variation_are_refused(small):
    _, time_days, is_event = small
    with pytest.raises(ValueError, match="no feature varies"):
        fit_cox(np.full((200, 2), 0.1), time_days, is_event, seed=0)
