"""How will this patient do? Survival models trained on the store, and patients scored by them."""

from __future__ import annotations

from tumorbase.query.answers import Scored, Trained, TrainingQuestion
from tumorbase.query.cox_survival import score_by_cox, train_cox
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.store import Store
from tumorbase.store.view import View

COX = ("cox", "cox-elastic-net")  # two names of one model


def train_survival(store: Store, question: TrainingQuestion) -> Trained:
    """A model of the question's architecture, kept under its name, with its C-index of the folds.

    Raises:
        InvalidRequest: an unknown architecture or endpoint, no name, or unsound folds.
        NotEnoughData: too few events, or what the model takes is not known of the patients.
    """
    if question.architecture not in COX:
        known = ", ".join(COX)
        raise InvalidRequest(f"architecture must be one of {known}, got {question.architecture!r}")
    if not question.name.strip():
        raise InvalidRequest("a model needs a name")
    return train_cox(store, question)


def score_patients(view: View, model: str, patient_ids: list[str]) -> Scored:
    """The patients' risks by a trained model, in their order.

    The percentile (0 to 100) of a risk is its place among the training patients.

    Raises:
        NotFound: the store has no such model or patient.
        InvalidRequest: the model is not a survival model.
        NotEnoughData: what the model takes is not known of a patient.
    """
    return score_by_cox(view, model, patient_ids)
