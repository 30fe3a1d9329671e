"""How will this patient do? Survival models over all modalities, and patients scored by them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tumorbase.models.concordance import concordance_index
from tumorbase.models.cox import CoxModel, cox_risk, fit_cox, stratified_folds, survival_probability
from tumorbase.query.answers import (
    CIndex,
    Receipt,
    Score,
    Scored,
    SurvivalCurve,
    Trained,
    TrainingQuestion,
)
from tumorbase.query.survival_features import (
    MODALITIES,
    FeatureBlock,
    feature_blocks,
    patient_features,
)
from tumorbase.query.survival_model import KIND, HeldOut, SurvivalModel, model_bytes, read_model
from tumorbase.store.errors import InvalidRequest, NotEnoughData
from tumorbase.store.store import Store
from tumorbase.store.view import View

ARCHITECTURES = ("cox", "cox-elastic-net")  # two names of one model
DEFAULT_FOLDS = 5
MIN_EVENTS = 10
CURVE_POINTS = 100

_ENDPOINTS = "SELECT DISTINCT endpoint FROM outcome ORDER BY endpoint"
_OUTCOMES = """
SELECT patient_id, time_days, is_event FROM outcome WHERE endpoint = $endpoint
QUALIFY row_number() OVER (
    PARTITION BY patient_id ORDER BY known_at DESC, time_days DESC, is_event DESC) = 1
ORDER BY patient_id
"""


@dataclass(frozen=True)
class _Cohort:
    """Patients with an outcome and at least one modality; arrays in the order of the ids."""

    patient_ids: list[str]
    time_days: np.ndarray
    is_event: np.ndarray
    features: np.ndarray


_Folds = list[tuple[np.ndarray, np.ndarray]]  # rows of training and of validation


def train_survival(store: Store, question: TrainingQuestion) -> Trained:
    """A Cox model of everything the store knows of its patients, kept under `question.name`.

    The C-index comes from the folds; statistics, imputation and penalty of each are of its training
    patients alone. The model that is kept is fitted on all patients.

    Raises:
        InvalidRequest: an unknown architecture or endpoint, no name, or unsound folds.
        NotEnoughData: too few events, or nothing is known of the patients.
    """
    started = time.monotonic()
    _check(question)
    view = store.view()
    blocks = feature_blocks(view)
    cohort, notes = _read_cohort(view, question.endpoint, blocks)
    folds, fold_notes = _rows_of_folds(cohort, question)
    indices, held_out = _cross_validate(cohort, folds, question.seed)
    cox = _fit(cohort, np.arange(len(cohort.patient_ids)), question.seed)
    risks = np.sort(cox_risk(cox, cohort.features))
    if not cox.coefficients.any():
        notes = (*notes, "no feature predicts better than none: all risks are equal")
    trained = Trained(
        model=question.name,
        architecture=question.architecture,
        endpoint=question.endpoint,
        patients=len(cohort.patient_ids),
        events=int(cohort.is_event.sum()),
        features=cohort.features.shape[1],
        c_index=_summary(indices),
        seconds=time.monotonic() - started,
        receipt=Receipt(view.commit_id, notes=(*notes, *fold_notes)),
    )
    model = SurvivalModel(question.endpoint, blocks, cox, risks, held_out)
    store.save_model(question.name, KIND, model_bytes(model), _details(trained, cox))
    return trained


def score_patients(view: View, model: str, patient_ids: list[str]) -> Scored:
    """The patients' risks by a trained model, in their order.

    The risk is the log hazard ratio against the mean training patient, the percentile (0 to 100)
    its place among the training patients. What is missing of a patient counts as their mean.

    Raises:
        NotFound: the store has no such model or patient.
        InvalidRequest: the model is not a survival model.
        NotEnoughData: nothing that the model takes is known of a patient.
    """
    survival = read_model(view, model)
    features = patient_features(view, survival.blocks, patient_ids)
    for patient_id, present in zip(patient_ids, features.present, strict=True):
        if not present.any():
            taken = ", ".join(sorted({block.modality for block in survival.blocks}))
            raise NotEnoughData(f"patient {patient_id!r} has none of what {model!r} takes: {taken}")
    risks = cox_risk(survival.cox, features.matrix)
    percentiles = _percentiles(survival.training_risks, risks)
    curves = _curves(survival.cox, risks)
    scores = tuple(
        Score(
            patient_id,
            risk=float(risks[row]),
            percentile=float(percentiles[row]),
            survival=curves[row],
            modalities=tuple(np.array(MODALITIES)[features.present[row]].tolist()),
        )
        for row, patient_id in enumerate(patient_ids)
    )
    return Scored(model, scores, Receipt(view.commit_id))


def _check(question: TrainingQuestion) -> None:
    if question.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InvalidRequest(f"architecture must be one of {known}, got {question.architecture!r}")
    if not question.name.strip():
        raise InvalidRequest("a model needs a name")


def _read_cohort(
    view: View, endpoint: str, blocks: tuple[FeatureBlock, ...]
) -> tuple[_Cohort, tuple[str, ...]]:
    """The patients to learn from, and notes on what is known of them and who is left out."""
    outcomes = view.sql(_OUTCOMES, endpoint=endpoint)
    if outcomes.num_rows == 0:
        endpoints = ", ".join(view.sql(_ENDPOINTS)["endpoint"].to_pylist()) or "none"
        raise InvalidRequest(
            f"no outcome of endpoint {endpoint!r}; the store's endpoints: {endpoints}"
        )
    if not blocks:
        raise NotEnoughData("the store has no lesion, slide, profile or covariate to learn from")
    patient_ids = outcomes["patient_id"].to_pylist()
    features = patient_features(view, blocks, patient_ids)
    known = np.asarray(features.present.any(axis=1))
    cohort = _Cohort(
        [patient_id for patient_id, keep in zip(patient_ids, known, strict=True) if keep],
        outcomes["time_days"].to_numpy()[known],
        outcomes["is_event"].to_numpy()[known],
        features.matrix[known],
    )
    if cohort.is_event.sum() < MIN_EVENTS:
        raise NotEnoughData(
            f"endpoint {endpoint!r} needs at least {MIN_EVENTS} events among patients with "
            f"features, got {int(cohort.is_event.sum())}"
        )
    notes = [
        f"{modality}: {int(has.sum())} of {int(known.sum())} patients"
        for modality, has in zip(MODALITIES, features.present.T, strict=True)
        if has.any()
    ]
    if not known.all():
        notes.append(f"{int((~known).sum())} patients without any feature left out")
    return cohort, tuple(notes)


def _rows_of_folds(cohort: _Cohort, question: TrainingQuestion) -> tuple[_Folds, tuple[str, ...]]:
    """The question's folds as rows of the cohort, and a note on ids that have none."""
    if not question.folds:
        fold_of = stratified_folds(cohort.is_event, DEFAULT_FOLDS, question.seed)
        rows = [np.flatnonzero(fold_of == fold) for fold in range(DEFAULT_FOLDS)]
        return [(np.flatnonzero(fold_of != k), val) for k, val in enumerate(rows)], ()
    row_of = {patient_id: row for row, patient_id in enumerate(cohort.patient_ids)}
    folds: _Folds = []
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


def _cross_validate(cohort: _Cohort, folds: _Folds, seed: int) -> tuple[list[float], HeldOut]:
    """C-index of each fold, and its validation patients with their risk groups."""
    indices, rows, is_high = [], [], []
    for number, (train, val) in enumerate(folds):
        cox = _fit(cohort, train, seed)
        risks = cox_risk(cox, cohort.features)
        try:
            index = concordance_index(cohort.time_days[val], cohort.is_event[val], risks[val])
        except ValueError as error:
            raise NotEnoughData(f"fold {number}: {error}") from error
        indices.append(index)
        rows.append(val)
        is_high.append(risks[val] > np.median(risks[train]))
    # A patient validated in several folds counts once, as in the first of them.
    each, first = np.unique(np.concatenate(rows), return_index=True)
    groups = np.concatenate(is_high)[first]
    return indices, HeldOut(cohort.time_days[each], cohort.is_event[each], groups)


def _fit(cohort: _Cohort, rows: np.ndarray, seed: int) -> CoxModel:
    try:
        return fit_cox(cohort.features[rows], cohort.time_days[rows], cohort.is_event[rows], seed)
    except ValueError as error:
        raise NotEnoughData(f"cannot fit a model on {len(rows)} patients: {error}") from error


def _summary(indices: list[float]) -> CIndex:
    """Mean and sample deviation over the folds."""
    sd = float(np.std(indices, ddof=1)) if len(indices) > 1 else 0.0
    return CIndex(float(np.mean(indices)), sd, tuple(indices))


def _details(trained: Trained, cox: CoxModel) -> dict[str, object]:
    """What is worth knowing of a model without reading it."""
    return {
        "architecture": trained.architecture,
        "endpoint": trained.endpoint,
        "patients": trained.patients,
        "events": trained.events,
        "features": trained.features,
        "features_used": int(np.count_nonzero(cox.coefficients)),
        "c_index": list(trained.c_index.folds),
        "l1_ratio": cox.l1_ratio,
        "penalty": cox.penalty,
        "trained_at_commit": trained.receipt.commit,
    }


def _percentiles(training_risks: np.ndarray, risks: np.ndarray) -> np.ndarray:
    """Percentage of training patients below each risk, ties counted one half."""
    below = np.searchsorted(training_risks, risks, side="left")
    not_above = np.searchsorted(training_risks, risks, side="right")
    return 50.0 * (below + not_above) / len(training_risks)


def _curves(cox: CoxModel, risks: np.ndarray) -> list[SurvivalCurve]:
    """Survival from time 0 on, at no more than `CURVE_POINTS` of the event times."""
    times = cox.baseline_time_days
    picked = np.unique(np.linspace(0, len(times) - 1, CURVE_POINTS - 1).astype(int))
    probabilities = survival_probability(cox, risks)[:, picked]
    return [
        SurvivalCurve((0.0, *times[picked].tolist()), (1.0, *row.tolist())) for row in probabilities
    ]
