"""Survival by a Cox model of every modality that a patient may have."""

from __future__ import annotations

import time

import numpy as np

from tumorbase.models.cox import CoxModel, cox_risk, fit_cox, survival_probability
from tumorbase.query.answers import (
    Receipt,
    Score,
    Scored,
    SurvivalCurve,
    Trained,
    TrainingQuestion,
)
from tumorbase.query.survival_cohort import (
    Outcomes,
    cross_validate,
    percentiles,
    read_outcomes,
    require_events,
    rows_of_folds,
)
from tumorbase.query.survival_features import (
    MODALITIES,
    FeatureBlock,
    feature_blocks,
    patient_features,
)
from tumorbase.query.survival_model import KIND, SurvivalModel, model_bytes, read_model
from tumorbase.store.errors import NotEnoughData
from tumorbase.store.store import Store
from tumorbase.store.view import View

CURVE_POINTS = 100


def train_cox(store: Store, question: TrainingQuestion) -> Trained:
    """A Cox model of everything the store knows of its patients, kept under `question.name`.

    The C-index comes from the folds; statistics, imputation and penalty of each are of its training
    patients alone. The model that is kept is fitted on all patients.

    Raises:
        InvalidRequest: an unknown endpoint, or unsound folds.
        NotEnoughData: too few events, or nothing is known of the patients.
    """
    started = time.monotonic()
    view = store.view()
    blocks = feature_blocks(view)
    outcomes, features, notes = _read_cohort(view, question.endpoint, blocks)
    folds, fold_notes = rows_of_folds(outcomes, question)

    def fitted(rows: np.ndarray) -> CoxModel:
        return _fit(outcomes, features, rows, question.seed)

    c_index, held_out = cross_validate(
        outcomes, folds, lambda train: cox_risk(fitted(train), features)
    )
    cox = fitted(np.arange(len(features)))
    risks = np.sort(cox_risk(cox, features))
    if not cox.coefficients.any():
        notes = (*notes, "no feature predicts better than none: all risks are equal")
    trained = Trained(
        model=question.name,
        architecture=question.architecture,
        endpoint=question.endpoint,
        patients=len(features),
        events=outcomes.events,
        features=features.shape[1],
        c_index=c_index,
        seconds=time.monotonic() - started,
        receipt=Receipt(view.commit_id, notes=(*notes, *fold_notes)),
    )
    model = SurvivalModel(question.endpoint, blocks, cox, risks, held_out)
    store.save_model(question.name, KIND, model_bytes(model), _details(trained, cox))
    return trained


def score_by_cox(view: View, model: str, patient_ids: list[str]) -> Scored:
    """The patients' risks by a trained Cox model, in their order.

    The risk is the log hazard ratio against the mean training patient. What is missing of a patient
    counts as their mean.

    Raises:
        NotFound: the store has no such model or patient.
        InvalidRequest: the model is not a Cox model.
        NotEnoughData: nothing that the model takes is known of a patient.
    """
    survival = read_model(view, model)
    features = patient_features(view, survival.blocks, patient_ids)
    for patient_id, present in zip(patient_ids, features.present, strict=True):
        if not present.any():
            taken = ", ".join(sorted({block.modality for block in survival.blocks}))
            raise NotEnoughData(f"patient {patient_id!r} has none of what {model!r} takes: {taken}")
    risks = cox_risk(survival.cox, features.matrix)
    places = percentiles(survival.training_risks, risks)
    curves = _curves(survival.cox, risks)
    scores = tuple(
        Score(
            patient_id,
            risk=float(risks[row]),
            percentile=float(places[row]),
            survival=curves[row],
            modalities=tuple(np.array(MODALITIES)[features.present[row]].tolist()),
        )
        for row, patient_id in enumerate(patient_ids)
    )
    return Scored(model, scores, Receipt(view.commit_id))


def _read_cohort(
    view: View, endpoint: str, blocks: tuple[FeatureBlock, ...]
) -> tuple[Outcomes, np.ndarray, tuple[str, ...]]:
    """Patients with at least one modality, their features, and notes on them and who is left out.

    The features are float64 (patients, features).
    """
    outcomes = read_outcomes(view, endpoint)
    if not blocks:
        raise NotEnoughData("the store has no lesion, slide, profile or covariate to learn from")
    features = patient_features(view, blocks, outcomes.patient_ids)
    known = np.asarray(features.present.any(axis=1))
    outcomes = outcomes.where(known)
    require_events(outcomes, endpoint)
    notes = [
        f"{modality}: {int(has.sum())} of {int(known.sum())} patients"
        for modality, has in zip(MODALITIES, features.present.T, strict=True)
        if has.any()
    ]
    if not known.all():
        notes.append(f"{int((~known).sum())} patients without any feature left out")
    return outcomes, features.matrix[known], tuple(notes)


def _fit(outcomes: Outcomes, features: np.ndarray, rows: np.ndarray, seed: int) -> CoxModel:
    try:
        return fit_cox(features[rows], outcomes.time_days[rows], outcomes.is_event[rows], seed)
    except ValueError as error:
        raise NotEnoughData(f"cannot fit a model on {len(rows)} patients: {error}") from error


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


def _curves(cox: CoxModel, risks: np.ndarray) -> list[SurvivalCurve]:
    """Survival from time 0 on, at no more than `CURVE_POINTS` of the event times."""
    times = cox.baseline_time_days
    picked = np.unique(np.linspace(0, len(times) - 1, CURVE_POINTS - 1).astype(int))
    probabilities = survival_probability(cox, risks)[:, picked]
    return [
        SurvivalCurve((0.0, *times[picked].tolist()), (1.0, *row.tolist())) for row in probabilities
    ]
