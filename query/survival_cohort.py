"""Whose survival is known, in which folds, and how well risks order them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tumorbase.models.concordance import concordance_index
from tumorbase.models.cox import stratified_folds
from tumorbase.query.answers import CIndex, TrainingQuestion
from tumorbase.query.survival_model import HeldOut
from tumorbase.store.errors import InvalidRequest, NotEnoughData
from tumorbase.store.view import View

DEFAULT_FOLDS = 5
MIN_EVENTS = 10
ROUNDING = 1e-9

_ENDPOINTS = "SELECT DISTINCT endpoint FROM outcome ORDER BY endpoint"
_OUTCOMES = """
SELECT patient_id, time_days, is_event FROM outcome WHERE endpoint = $endpoint
QUALIFY row_number() OVER (
    PARTITION BY patient_id ORDER BY known_at DESC, time_days DESC, is_event DESC) = 1
ORDER BY patient_id
"""

Folds = list[tuple[np.ndarray, np.ndarray]]  # rows of training and of validation


@dataclass(frozen=True)
class Outcomes:
    """Patients with an outcome, in the order of their ids; arrays (patients,)."""

    patient_ids: list[str]
    time_days: np.ndarray
    is_event: np.ndarray

    @property
    def events(self) -> int:
        """How many had the event."""
        return int(self.is_event.sum())

    def where(self, keep: np.ndarray) -> Outcomes:
        """Those of the patients for whom `keep`, bool (patients,), is true."""
        kept = [patient for patient, is_kept in zip(self.patient_ids, keep, strict=True) if is_kept]
        return Outcomes(kept, self.time_days[keep], self.is_event[keep])


def read_outcomes(view: View, endpoint: str) -> Outcomes:
    """The outcomes of an endpoint, of each patient that known last.

    Raises:
        InvalidRequest: the store has none of this endpoint.
    """
    outcomes = view.sql(_OUTCOMES, endpoint=endpoint)
    if outcomes.num_rows == 0:
        endpoints = ", ".join(view.sql(_ENDPOINTS)["endpoint"].to_pylist()) or "none"
        raise InvalidRequest(
            f"no outcome of endpoint {endpoint!r}; the store's endpoints: {endpoints}"
        )
    return Outcomes(
        outcomes["patient_id"].to_pylist(),
        outcomes["time_days"].to_numpy(),
        outcomes["is_event"].to_numpy(),
    )


def require_events(outcomes: Outcomes, endpoint: str) -> None:
    """Refuse to learn from too few events.

    Raises:
        NotEnoughData: there are fewer than `MIN_EVENTS`.
    """
    if outcomes.events < MIN_EVENTS:
        raise NotEnoughData(
            f"endpoint {endpoint!r} needs at least {MIN_EVENTS} events among patients with "
            f"features, got {outcomes.events}"
        )


def rows_of_folds(outcomes: Outcomes, question: TrainingQuestion) -> tuple[Folds, tuple[str, ...]]:
    """The question's folds as rows of the cohort, and a note on ids that have none.

    Raises:
        InvalidRequest: a fold has a patient in both parts, or none of the cohort in one.
    """
    if not question.folds:
        fold_of = stratified_folds(outcomes.is_event, DEFAULT_FOLDS, question.seed)
        rows = [np.flatnonzero(fold_of == fold) for fold in range(DEFAULT_FOLDS)]
        return [(np.flatnonzero(fold_of != k), val) for k, val in enumerate(rows)], ()
    row_of = {patient_id: row for row, patient_id in enumerate(outcomes.patient_ids)}
    folds: Folds = []
    unknown: set[str] = set()
    for number, (train, val) in enumerate(question.folds):
        both = sorted(set(train) & set(val))
        if both:
            raise InvalidRequest(f"fold {number} has {both[0]!r} in both train and val")
        unknown.update(patient_id for patient_id in (*train, *val) if patient_id not in row_of)
        # Sorted and unique: the order in a file changes nothing, a repetition adds no weight.
        parts = [sorted({row_of[i] for i in ids if i in row_of}) for ids in (train, val)]
        if not all(parts):
            raise InvalidRequest(f"fold {number} has no patient with an outcome in train or in val")
        folds.append((np.array(parts[0]), np.array(parts[1])))
    note = f"{len(unknown)} patients of the folds left out: no outcome or no feature in the store"
    return folds, (note,) if unknown else ()


def cross_validate(
    outcomes: Outcomes, folds: Folds, risks_by: Callable[[np.ndarray], np.ndarray]
) -> tuple[CIndex, HeldOut]:
    """C-index over the folds, and their validation patients with their risk groups.

    Args:
        outcomes: of the cohort.
        folds: of its rows.
        risks_by: risks of all patients, (patients,), by a model of those in the given rows.

    Raises:
        NotEnoughData: the validation patients of a fold cannot be compared.
    """
    for number, (_, val) in enumerate(folds):  # refused before hours of training
        _concordance(outcomes, number, val, np.zeros(len(val)))
    indices, rows, is_high = [], [], []
    for number, (train, val) in enumerate(folds):
        risks = risks_by(train)
        indices.append(_concordance(outcomes, number, val, risks[val]))
        rows.append(val)
        is_high.append(risks[val] > np.median(risks[train]))
    # A patient validated in several folds counts once, as in the first of them.
    each, first = np.unique(np.concatenate(rows), return_index=True)
    groups = np.concatenate(is_high)[first]
    held_out = HeldOut(outcomes.time_days[each], outcomes.is_event[each], groups)
    # Mean and sample deviation over the folds.
    sd = float(np.std(indices, ddof=1)) if len(indices) > 1 else 0.0
    return CIndex(float(np.mean(indices)), sd, tuple(indices)), held_out


def _concordance(outcomes: Outcomes, fold: int, val: np.ndarray, risks: np.ndarray) -> float:
    """C-index of the patients in the rows `val`, whose `risks` are (len(val),)."""
    try:
        return concordance_index(outcomes.time_days[val], outcomes.is_event[val], risks)
    except ValueError as error:
        raise NotEnoughData(f"fold {fold}: {error}") from error


def percentiles(training_risks: np.ndarray, risks: np.ndarray) -> np.ndarray:
    """Percentage of training patients below each risk, ties counted one half.

    `training_risks` are in ascending order. Risks that differ by rounding are ties: a patient's own
    differs so by who else is asked about.
    """
    rounding = ROUNDING * np.maximum(1.0, np.abs(risks))
    below = np.searchsorted(training_risks, risks - rounding, side="left")
    not_above = np.searchsorted(training_risks, risks + rounding, side="right")
    return 50.0 * (below + not_above) / len(training_risks)
