"""Do a model's high and low risk differ? Kaplan-Meier curves of patients it was not trained on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test

from tumorbase.query.answers import Receipt, SurvivalCurve
from tumorbase.query.survival import read_survival_model
from tumorbase.query.survival_model import HeldOut
from tumorbase.store.errors import NotEnoughData
from tumorbase.store.view import View


@dataclass(frozen=True)
class RiskGroup:
    """Patients of low or high risk; the 95 % interval (Greenwood, log-log) is at the curve's times.

    `median_days` is infinite where fewer than half had the event.
    """

    name: str
    patients: int
    events: int
    survival: SurvivalCurve
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    median_days: float


@dataclass(frozen=True)
class RiskGroups:
    """Low and high risk, and the log-rank test (Mantel 1966) of their being alike.

    The test takes patients for independent, which those of a cross-validation are not, as its
    models share training patients: p is a description, no proof (Simon et al. 2011).
    """

    model: str
    endpoint: str
    groups: tuple[RiskGroup, ...]
    log_rank_statistic: float
    log_rank_p: float
    receipt: Receipt


def risk_groups(view: View, model: str) -> RiskGroups:
    """Kaplan-Meier curves of low and high risk over the cross-validation of a survival model.

    Each patient's risk is of the model trained without the patient, and high if above the median of
    that model's training patients: so the curves show no patient the model has seen.

    Raises:
        NotFound: the store has no such model.
        InvalidRequest: it is not a survival model.
        NotEnoughData: one of the groups is empty.
    """
    survival = read_survival_model(view, model)
    held_out = survival.held_out
    is_high = held_out.is_high_risk
    if is_high.all() or not is_high.any():
        raise NotEnoughData(f"model {model!r} puts all patients into one risk group")
    with warnings.catch_warnings():
        # lifelines calls pandas in ways that pandas 4 drops.
        warnings.filterwarnings("ignore", module=r"lifelines|pandas")
        groups = (_group("low", held_out, ~is_high), _group("high", held_out, is_high))
        test = logrank_test(
            held_out.time_days[~is_high],
            held_out.time_days[is_high],
            held_out.is_event[~is_high],
            held_out.is_event[is_high],
        )
    statistic, p = float(test.test_statistic), float(test.p_value)
    return RiskGroups(model, survival.endpoint, groups, statistic, p, Receipt(view.commit_id))


def _group(name: str, held_out: HeldOut, mine: np.ndarray) -> RiskGroup:
    fitted = KaplanMeierFitter().fit(held_out.time_days[mine], held_out.is_event[mine])
    times = tuple(fitted.survival_function_.index.astype(float))
    interval = fitted.confidence_interval_.to_numpy()
    return RiskGroup(
        name,
        patients=int(mine.sum()),
        events=int(held_out.is_event[mine].sum()),
        survival=SurvivalCurve(times, tuple(fitted.survival_function_.iloc[:, 0])),
        lower=tuple(interval[:, 0].tolist()),
        upper=tuple(interval[:, 1].tolist()),
        median_days=float(fitted.median_survival_time_),
    )
