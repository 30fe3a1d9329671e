"""How will this patient do? Survival models trained on the store, and patients scored by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tumorbase.models.survival_architectures import ARCHITECTURES
from tumorbase.query.answers import Scored, Trained, TrainingQuestion
from tumorbase.query.cox_survival import score_by_cox, train_cox
from tumorbase.query.survival_model import NETWORK_KIND, SurvivalModel, read_model
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.store import Store
from tumorbase.store.view import View

if TYPE_CHECKING:
    from tumorbase.query.network_model import NetworkModel

COX = ("cox", "cox-elastic-net")  # two names of one model


def train_survival(
    store: Store, question: TrainingQuestion, is_cancelled: Callable[[], bool] = lambda: False
) -> Trained:
    """A model of the question's architecture, kept under its name, with its C-index of the folds.

    Where `is_cancelled` says so, the training of a network ends with nothing kept.

    Raises:
        InvalidRequest: an unknown architecture or endpoint, no name, or unsound folds.
        NotEnoughData: too few events, or what the model takes is not known of the patients.
    """
    if question.architecture not in (*COX, *ARCHITECTURES):
        known = ", ".join((*COX, *ARCHITECTURES))
        raise InvalidRequest(f"architecture must be one of {known}, got {question.architecture!r}")
    if not question.name.strip():
        raise InvalidRequest("a model needs a name")
    if question.architecture in COX:
        return train_cox(store, question)
    # Torch takes seconds to import, and a Cox model does without.
    from tumorbase.query.network_survival import train_network

    return train_network(store, question, is_cancelled)


def read_survival_model(view: View, name: str) -> SurvivalModel | NetworkModel:
    """The survival model of this name.

    Raises:
        NotFound: there is no model of this name.
        InvalidRequest: it is no survival model.
    """
    if view.model(name)[0] != NETWORK_KIND:
        return read_model(view, name)
    from tumorbase.query.network_model import read_network

    return read_network(view, name)


def score_patients(view: View, model: str, patient_ids: list[str]) -> Scored:
    """The patients' risks by a trained model, in their order.

    The percentile (0 to 100) of a risk is its place among the training patients.

    Raises:
        NotFound: the store has no such model or patient.
        InvalidRequest: the model is not a survival model.
        NotEnoughData: what the model takes is not known of a patient.
    """
    if view.model(model)[0] != NETWORK_KIND:
        return score_by_cox(view, model, patient_ids)
    from tumorbase.query.network_survival import score_by_network

    return score_by_network(view, model, patient_ids)
