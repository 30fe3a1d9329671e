"""Cox's proportional hazards model with an elastic-net penalty, fitted along a penalty path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumorbase.models.cox_path import cox_path
from tumorbase.models.standardisation import column_statistics, standardise

DENSE_L1_RATIO = 0.05  # for many small effects
SPARSE_L1_RATIO = 0.5  # for few large ones
CLEAR_GAIN_ERRORS = 2.0  # standard errors by which the sparse model must be better to be taken
INNER_FOLDS = 5
SMALLEST_EFFECT = 1e-12
LEAST_EVENTS = 5


@dataclass(frozen=True)
class CoxModel:
    """A fitted model: the hazard at t is the baseline hazard times exp(risk).

    `mean` and `sd` standardise the features, and a missing one is taken as its mean; `coefficients`
    are of the standardised features, all float64 (features,). The baseline is a step function over
    the event times in ascending order, of a patient with risk 0.
    """

    mean: np.ndarray
    sd: np.ndarray
    coefficients: np.ndarray
    l1_ratio: float
    penalty: float
    baseline_time_days: np.ndarray  # (event times,)
    baseline_hazard: np.ndarray  # cumulative, (event times,)


def fit_cox(
    features: np.ndarray, time_days: np.ndarray, is_event: np.ndarray, seed: int
) -> CoxModel:
    """The elastic-net Cox model whose penalty has the best cross-validated partial likelihood.

    The penalty and its l1 ratio are chosen by up to `INNER_FOLDS` folds within the rows given, with
    means and deviations of these rows; nothing else is seen.

    Args:
        features: float (patients, features); NaN where missing, which becomes the feature's mean.
        time_days: time to event or censoring, (patients,).
        is_event: bool (patients,).
        seed: of the assignment to inner folds.

    Raises:
        ValueError: fewer than `LEAST_EVENTS` events, or no feature that varies.
    """
    events = int(np.count_nonzero(is_event))
    if events < LEAST_EVENTS:
        raise ValueError(f"at least {LEAST_EVENTS} events are needed, got {events}")
    mean, sd = column_statistics(features)
    standardised = standardise(features, mean, sd)
    if not standardised.any():
        raise ValueError("no feature varies among the patients")
    fold_of = stratified_folds(is_event, min(INNER_FOLDS, events), seed)
    best = _choose_penalty(standardised, time_days, is_event, fold_of)
    times, hazard = breslow_baseline(time_days, is_event, standardised @ best.coefficients)
    return CoxModel(mean, sd, best.coefficients, best.l1_ratio, best.penalty, times, hazard)


def cox_risk(model: CoxModel, features: np.ndarray) -> np.ndarray:
    """Log hazard ratio against the mean training patient, (patients,): the higher, the sooner.

    `features` are float (patients, features), NaN where missing.
    """
    return standardise(features, model.mean, model.sd) @ model.coefficients


def survival_probability(model: CoxModel, risk: np.ndarray) -> np.ndarray:
    """Probability to be free of the event after each baseline time, (patients, event times)."""
    return np.exp(-np.exp(risk)[:, None] * model.baseline_hazard)


def log_partial_likelihood(
    time_days: np.ndarray, is_event: np.ndarray, risks: np.ndarray
) -> np.ndarray:
    """Log partial likelihood of each column of `risks` (patients, k), with Breslow's ties, (k,)."""
    order = np.argsort(-time_days, kind="stable")
    risks, events = risks[order], is_event[order]
    log_at_risk = np.logaddexp.accumulate(risks, axis=0)  # of everyone at least as late in `order`
    # Those of equal time are at risk together: all take the sum up to the last of them.
    last_of_time = np.searchsorted(-time_days[order], -time_days[order], side="right") - 1
    return np.asarray((risks - log_at_risk[last_of_time])[events].sum(axis=0))


def breslow_baseline(
    time_days: np.ndarray, is_event: np.ndarray, risk: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Event times, ascending, and Breslow's cumulative baseline hazard at them (Breslow 1972)."""
    times, deaths = np.unique(time_days[is_event], return_counts=True)
    order = np.argsort(time_days)
    from_here_on = np.cumsum(np.exp(risk[order])[::-1])[::-1]
    at_risk = from_here_on[np.searchsorted(time_days[order], times, side="left")]
    return times, np.cumsum(deaths / at_risk)


def stratified_folds(is_event: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold in [0, folds) for each patient, int (n,), with events spread evenly over the folds."""
    shuffled = np.random.default_rng(seed).permutation(len(is_event))
    by_event = shuffled[np.argsort(is_event[shuffled], kind="stable")]
    fold_of = np.empty(len(is_event), dtype=np.int64)
    fold_of[by_event] = np.arange(len(is_event)) % folds
    return fold_of


@dataclass(frozen=True)
class _Candidate:
    """The best penalty of one path; `likelihood` is held out, (inner folds,)."""

    l1_ratio: float
    penalty: float
    coefficients: np.ndarray
    likelihood: np.ndarray


def _choose_penalty(
    standardised: np.ndarray, time_days: np.ndarray, is_event: np.ndarray, fold_of: np.ndarray
) -> _Candidate:
    """The dense model, or the sparse one where it predicts held-out patients clearly better.

    Small differences between the two are noise of the inner folds: taking the better one at any
    difference made the choice worse than none on real genomes.
    """
    dense, sparse = (
        _best_of_path(standardised, time_days, is_event, fold_of, l1_ratio)
        for l1_ratio in (DENSE_L1_RATIO, SPARSE_L1_RATIO)
    )
    gain = sparse.likelihood - dense.likelihood
    error = gain.std(ddof=1) * np.sqrt(len(gain))
    return sparse if gain.sum() > CLEAR_GAIN_ERRORS * error else dense


def _best_of_path(
    standardised: np.ndarray,
    time_days: np.ndarray,
    is_event: np.ndarray,
    fold_of: np.ndarray,
    l1_ratio: float,
) -> _Candidate:
    """The penalty that predicts held-out patients best.

    Scored by the held-out part of the partial likelihood: that of all patients less that of the
    training patients (Verweij and van Houwelingen 1993).
    """
    penalties, path = cox_path(standardised, time_days, is_event, l1_ratio)
    likelihood = np.empty((fold_of.max() + 1, len(penalties)))
    for fold in range(len(likelihood)):
        seen = fold_of != fold
        features, times, events = standardised[seen], time_days[seen], is_event[seen]
        _, fold_path = cox_path(features, times, events, l1_ratio, penalties)
        risks = standardised @ fold_path.T  # (patients, penalties)
        likelihood[fold] = log_partial_likelihood(time_days, is_event, risks)
        likelihood[fold] -= log_partial_likelihood(times, events, risks[seen])
    chosen = int(likelihood.sum(axis=0).argmax())
    # Where the penalty leaves nothing, rounding may leave something: that is no effect.
    coefficients = np.where(np.abs(path[chosen]) < SMALLEST_EFFECT, 0.0, path[chosen])
    return _Candidate(l1_ratio, float(penalties[chosen]), coefficients, likelihood[:, chosen])
