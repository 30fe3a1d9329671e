"""Survival by a network of patches and genes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from torch import nn

from tumorbase.models.inference import resolve_device
from tumorbase.models.survival_architectures import make_network
from tumorbase.models.survival_bins import time_bins, time_edges
from tumorbase.models.survival_training import (
    PUBLISHED,
    Recipe,
    Targets,
    fit_network,
    predict_survival,
)
from tumorbase.query.answers import (
    Receipt,
    Score,
    Scored,
    SurvivalCurve,
    Trained,
    TrainingQuestion,
)
from tumorbase.query.network_inputs import InputSpec, NetworkInputs, Scaling, input_spec
from tumorbase.query.network_model import NetworkModel, network_bytes, read_network
from tumorbase.query.survival_cohort import (
    Outcomes,
    cross_validate,
    percentiles,
    read_outcomes,
    require_events,
    rows_of_folds,
)
from tumorbase.query.survival_model import NETWORK_KIND
from tumorbase.store.errors import NotEnoughData, Unavailable
from tumorbase.store.store import Store
from tumorbase.store.view import View


@dataclass(frozen=True)
class _Cohort:
    """Patients who have an outcome and all that the network takes, and notes on who has not."""

    outcomes: Outcomes
    inputs: NetworkInputs
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Fitted:
    """A network of some patients of a cohort, and the risks of all, (patients,)."""

    network: nn.Module
    scaling: Scaling
    edges_days: np.ndarray
    risks: np.ndarray
    losses: tuple[float, ...]


def train_network(
    store: Store,
    question: TrainingQuestion,
    is_cancelled: Callable[[], bool] = lambda: False,
    recipe: Recipe = PUBLISHED,
) -> Trained:
    """A network of the question's architecture, kept under its name.

    It is trained on the patients who have all that it takes. The C-index comes from the folds; time
    bins and standardisation of each are of its training patients alone. The network that is kept is
    trained on all patients. Asked before each patient, and while another network is trained,
    `is_cancelled` ends the training.

    Raises:
        InvalidRequest: an unknown endpoint, or unsound folds.
        NotEnoughData: too few events, or the store lacks what the network takes.
    """

    def stop_if_cancelled() -> None:
        if is_cancelled():
            raise Unavailable("the training was cancelled")

    started = time.monotonic()
    view = store.view()
    cohort = _read_cohort(view, question, stop_if_cancelled)
    outcomes, spec = cohort.outcomes, cohort.inputs.spec
    folds, fold_notes = rows_of_folds(outcomes, question)
    everyone = np.arange(len(outcomes.patient_ids))
    for rows in (*(train for train, _ in folds), everyone):
        _edges_days(outcomes, rows)  # what cannot be trained on is refused before hours of training

    def fitted(rows: np.ndarray) -> _Fitted:
        return _fit(cohort, question, rows, recipe)

    c_index, held_out = cross_validate(outcomes, folds, lambda train: fitted(train).risks)
    final = fitted(everyone)
    trained = Trained(
        model=question.name,
        architecture=question.architecture,
        endpoint=question.endpoint,
        patients=len(outcomes.patient_ids),
        events=outcomes.events,
        features=spec.patch_dim + len(spec.columns),
        c_index=c_index,
        seconds=time.monotonic() - started,
        receipt=_receipt(view, spec, (*cohort.notes, *fold_notes)),
    )
    model = NetworkModel(
        question.endpoint,
        question.architecture,
        spec,
        final.network,
        final.scaling,
        final.edges_days,
        np.sort(final.risks),
        held_out,
    )
    details = _details(trained, question, recipe, final.losses)
    store.save_model(question.name, NETWORK_KIND, network_bytes(model), details)
    return trained


def score_by_network(view: View, model: str, patient_ids: list[str]) -> Scored:
    """The patients' risks by a trained network, in their order.

    The risk is the sum of the probabilities of being free of the event past each time bin, negated:
    less the number of bins that the network expects the patient to get through. The curve is at the
    edges of the bins. Both rank patients; they are not calibrated (docs/models/training.md).

    Raises:
        NotFound: the store has no such model, patient or patch encoder.
        InvalidRequest: the model is not a network.
        NotEnoughData: a patient lacks a modality that the network takes.
    """
    trained = read_network(view, model)
    inputs = NetworkInputs.read(view, trained.inputs, patient_ids)
    modalities = trained.inputs.modalities
    names = {
        "patch": f"patch of {trained.inputs.encoder_id}",
        "profile": f"genomic profile with any of {len(trained.inputs.columns)} columns",
    }
    for patient_id, present in zip(patient_ids, inputs.present(), strict=True):
        missing = [names[each] for each, has in zip(modalities, present, strict=True) if not has]
        if missing:
            raise NotEnoughData(
                f"patient {patient_id!r} has no {' and no '.join(missing)}, which {model!r} takes"
            )
    receipt = _receipt(view, trained.inputs, inputs.notes())
    if not patient_ids:
        return Scored(model, (), receipt)
    read = inputs.reader(trained.scaling)
    patients = (read(row) for row in range(len(patient_ids)))
    survival = predict_survival(trained.network, patients, resolve_device("auto"))
    risks = -survival.sum(axis=1)
    places = percentiles(trained.training_risks, risks)
    time_days = (0.0, *trained.edges_days[1:].tolist())
    scores = tuple(
        Score(
            patient_id,
            risk=float(risks[row]),
            percentile=float(places[row]),
            survival=SurvivalCurve(time_days, (1.0, *survival[row].tolist())),
            modalities=modalities,
        )
        for row, patient_id in enumerate(patient_ids)
    )
    return Scored(model, scores, receipt)


def _read_cohort(
    view: View, question: TrainingQuestion, before_each: Callable[[], None]
) -> _Cohort:
    outcomes = read_outcomes(view, question.endpoint)
    spec = input_spec(view, question.architecture)
    inputs = NetworkInputs.read(view, spec, outcomes.patient_ids, before_each)
    present = inputs.present()
    complete = np.asarray(present.all(axis=1))
    counts = zip(spec.modalities, present.sum(axis=0), strict=True)
    notes = [f"{modality}: {has} of {len(present)} patients" for modality, has in counts]
    if not complete.all():
        notes.append(
            f"{int((~complete).sum())} patients left out: "
            f"{question.architecture} takes {' and '.join(spec.modalities)}"
        )
    kept, inputs = outcomes.where(complete), inputs.where(complete)
    require_events(kept, question.endpoint)
    return _Cohort(kept, inputs, (*notes, *inputs.notes()))


def _edges_days(outcomes: Outcomes, rows: np.ndarray) -> np.ndarray:
    """Edges of the time bins of the patients in `rows`, (bins + 1,).

    Raises:
        NotEnoughData: their times make no bins.
    """
    try:
        return time_edges(outcomes.time_days[rows], ~outcomes.is_event[rows])
    except ValueError as error:
        raise NotEnoughData(f"cannot fit a model on {len(rows)} patients: {error}") from error


def _fit(cohort: _Cohort, question: TrainingQuestion, rows: np.ndarray, recipe: Recipe) -> _Fitted:
    """A network of the patients in `rows`."""
    outcomes, spec, device = cohort.outcomes, cohort.inputs.spec, resolve_device("auto")
    edges = _edges_days(outcomes, rows)
    scaling = cohort.inputs.scaling(rows)
    read = cohort.inputs.reader(scaling)
    fitted = fit_network(
        lambda: make_network(question.architecture, spec.patch_dim, spec.omic_sizes),
        lambda row: read(rows[row]),
        Targets(time_bins(outcomes.time_days[rows], edges), ~outcomes.is_event[rows]),
        question.seed,
        device,
        recipe,
        while_waiting=cohort.inputs.before_each,
    )
    everyone = (read(row) for row in range(len(outcomes.patient_ids)))
    risks = -predict_survival(fitted.network, everyone, device).sum(axis=1)
    return _Fitted(fitted.network, scaling, edges, risks, fitted.losses)


def _receipt(view: View, spec: InputSpec, notes: tuple[str, ...] = ()) -> Receipt:
    if not spec.encoder_id:
        return Receipt(view.commit_id, notes=notes)
    encoder = view.encoder("patch", spec.encoder_id)
    return Receipt(view.commit_id, encoder.encoder_id, encoder.weights_sha256, notes=notes)


def _details(
    trained: Trained, question: TrainingQuestion, recipe: Recipe, losses: tuple[float, ...]
) -> dict[str, object]:
    """What is worth knowing of a model without reading it."""
    return {
        "architecture": trained.architecture,
        "endpoint": trained.endpoint,
        "patients": trained.patients,
        "events": trained.events,
        "features": trained.features,
        "encoder": trained.receipt.encoder,
        "c_index": list(trained.c_index.folds),
        "seed": question.seed,
        "recipe": asdict(recipe),
        "losses": losses,
        "trained_at_commit": trained.receipt.commit,
    }
