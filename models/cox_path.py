"""Elastic-net Cox regression along a path of penalties, by coordinate descent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tumorbase.models._coordinate_descent import descend

PATH_LENGTH = 30
# The end of the path, as a share of the penalty at which every coefficient is zero.
SMALLEST_PENALTY_WIDE = 0.1  # more features than patients: beyond it lies only overfitting
SMALLEST_PENALTY_NARROW = 0.001
TOLERANCE = 1e-7  # in units of the mean log partial likelihood
MAX_NEWTON_STEPS = 50
MAX_SWEEPS = 1000


def cox_path(
    standardised: np.ndarray,
    time_days: np.ndarray,
    is_event: np.ndarray,
    l1_ratio: float,
    penalties: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients at each penalty: (penalties descending (L,), coefficients (L, features)).

    Minimises the negative log partial likelihood (Efron's ties) over n plus
    penalty * (l1_ratio |b|_1 + (1 - l1_ratio) / 2 |b|_2^2): Newton steps on the diagonal of the
    Hessian, each solved by coordinate descent over the features that the sequential strong rule
    leaves, until no other feature violates its optimality condition (Simon, Friedman, Hastie and
    Tibshirani 2011, section 2; Tibshirani et al. 2012 for the rule).

    Args:
        standardised: float64 (patients, features) without NaN.
        time_days: time to event or censoring, (patients,).
        is_event: bool (patients,).
        l1_ratio: share of the lasso in the penalty, in (0, 1].
        penalties: descending; without it, `PATH_LENGTH` of them on a logarithmic scale, from the
            one at which all coefficients become zero.
    """
    order = np.argsort(time_days, kind="stable")
    x = np.asfortranarray(standardised[order], dtype=np.float64)
    likelihood = _PartialLikelihood.of(time_days[order], is_event[order])
    patients, features = x.shape
    gradient = _gradient(x, likelihood, np.zeros(patients))
    if penalties is None:
        smallest = SMALLEST_PENALTY_WIDE if features > patients else SMALLEST_PENALTY_NARROW
        largest = max(np.abs(gradient).max() / l1_ratio, 1e-9)  # 0 where nothing bears on the risk
        penalties = np.geomspace(largest, largest * smallest, PATH_LENGTH)
    coefficients = np.zeros(features)
    path = np.empty((len(penalties), features))
    before = penalties[0]
    for index, penalty in enumerate(penalties):
        strong = np.abs(gradient) >= l1_ratio * (2 * penalty - before)
        active = np.flatnonzero(strong | (coefficients != 0))
        weights = _Penalty(penalty * l1_ratio, penalty * (1 - l1_ratio))
        gradient = _fit_penalty(x, likelihood, coefficients, active, weights)
        path[index] = coefficients
        before = penalty
    return np.asarray(penalties), path


@dataclass(frozen=True)
class _PartialLikelihood:
    """Efron's partial likelihood (Efron 1977) of patients in ascending order of time.

    Of d events at one time, the l-th (from 0) takes the risk set less l/d of the tied events.
    """

    is_event: np.ndarray  # 1.0 or 0.0, (patients,)
    first_of_time: np.ndarray  # (patients,) where the risk set of each patient's time begins
    last_of_time: np.ndarray  # (patients,) the last patient of the same time
    tied_share: np.ndarray  # l / d of each event, 0 of the censored, (patients,)

    @classmethod
    def of(cls, time_days: np.ndarray, is_event: np.ndarray) -> _PartialLikelihood:
        first = np.searchsorted(time_days, time_days, side="left")
        last = np.searchsorted(time_days, time_days, side="right") - 1
        events = is_event.astype(np.float64)
        up_to = np.concatenate([[0.0], np.cumsum(events)])
        tied = up_to[last + 1] - up_to[first]
        place = up_to[:-1] - up_to[first]
        return cls(events, first, last, events * place / np.maximum(tied, 1))

    def mean_log(self, risk: np.ndarray) -> float:
        """Log partial likelihood over the number of patients."""
        shift = risk.max()
        at_risk = self._at_risk(np.exp(risk - shift))
        return float((self.is_event * (risk - shift - np.log(at_risk))).mean())

    def derivatives(self, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and negative diagonal second derivative by each patient's risk, (patients,)."""
        hazard = np.exp(risk - risk.max())
        inverse = self.is_event / self._at_risk(hazard)
        # Each event at or before a patient's time pulls on it; tied ones pull on each other less.
        share = self.tied_share
        pull = self._up_to_time(inverse) - self.is_event * self._of_time(share * inverse)
        squared = self._up_to_time(inverse**2)
        squared -= self.is_event * self._of_time((2 - share) * share * inverse**2)
        return self.is_event - hazard * pull, hazard * pull - hazard**2 * squared

    def _at_risk(self, hazard: np.ndarray) -> np.ndarray:
        whole = np.cumsum(hazard[::-1])[::-1][self.first_of_time]
        return whole - self.tied_share * self._of_time(self.is_event * hazard)

    def _up_to_time(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(values)[self.last_of_time])

    def _of_time(self, values: np.ndarray) -> np.ndarray:
        up_to = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(up_to[self.last_of_time + 1] - up_to[self.first_of_time])


@dataclass(frozen=True)
class _Penalty:
    """Weights of the two parts: `l1` |b|_1 + `l2` / 2 |b|_2^2."""

    l1: float
    l2: float

    def of(self, coefficients: np.ndarray) -> float:
        return float(self.l1 * np.abs(coefficients).sum() + self.l2 / 2 * (coefficients**2).sum())


def _fit_penalty(
    x: np.ndarray,
    likelihood: _PartialLikelihood,
    coefficients: np.ndarray,
    active: np.ndarray,
    penalty: _Penalty,
) -> np.ndarray:
    """Fit at one penalty, `coefficients` in place; the gradient of the likelihood there."""
    while True:
        _newton(x, likelihood, coefficients, active, penalty)
        gradient = _gradient(x, likelihood, x[:, active] @ coefficients[active])
        violating = np.flatnonzero(
            (coefficients == 0) & (np.abs(gradient) > penalty.l1 * (1 + 1e-6))
        )
        violating = np.setdiff1d(violating, active)
        if not violating.size:
            return gradient
        active = np.union1d(active, violating)


def _newton(
    x: np.ndarray,
    likelihood: _PartialLikelihood,
    coefficients: np.ndarray,
    active: np.ndarray,
    penalty: _Penalty,
) -> None:
    """Newton steps over the active features until the objective stays where it is."""

    def objective(risk: np.ndarray) -> float:
        return penalty.of(coefficients[active]) - likelihood.mean_log(risk)

    used = x[:, active]
    squared = used**2
    risk = used @ coefficients[active]
    value = objective(risk)
    for _ in range(MAX_NEWTON_STEPS):
        before = coefficients[active]
        first, second = likelihood.derivatives(risk)
        weights = np.maximum(second, 1e-10)  # 0 for patients censored before the first event
        residual = first / weights
        curvature = weights @ squared / len(weights)
        descend(
            x,
            weights,
            curvature,
            residual,
            coefficients,
            active,
            penalty.l1,
            penalty.l2,
            TOLERANCE,
            MAX_SWEEPS,
        )
        after = coefficients[active]
        risk = used @ after
        # The diagonal understates the curvature, so that a full step can go too far.
        share = 1.0
        while (lower := objective(risk)) > value and share > 1e-3:
            share /= 2
            coefficients[active] = before + share * (after - before)
            risk = used @ coefficients[active]
        if value - lower < TOLERANCE:
            return
        value = lower


def _gradient(x: np.ndarray, likelihood: _PartialLikelihood, risk: np.ndarray) -> np.ndarray:
    """Gradient of the mean log partial likelihood by the coefficients, (features,)."""
    return np.asarray(likelihood.derivatives(risk)[0] @ x / len(risk))
