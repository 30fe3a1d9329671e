"""A trained survival model as it is kept in the store: arrays and JSON, no code."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np

from tumorbase.models.cox import CoxModel
from tumorbase.query.survival_features import FeatureBlock
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.view import View

KIND = "survival/cox"
NETWORK_KIND = "survival/network"  # of what `network_model` reads
_COX_ARRAYS = ("mean", "sd", "coefficients", "baseline_time_days", "baseline_hazard")


@dataclass(frozen=True)
class HeldOut:
    """Patients as the models saw them that were trained without them, arrays (patients,).

    `is_high_risk` tells whether the risk was above the median of that fold's training patients.
    """

    time_days: np.ndarray
    is_event: np.ndarray
    is_high_risk: np.ndarray


@dataclass(frozen=True)
class SurvivalModel:
    """A Cox model of all patients, the features it takes and the risks of its patients."""

    endpoint: str
    blocks: tuple[FeatureBlock, ...]
    cox: CoxModel
    training_risks: np.ndarray  # ascending
    held_out: HeldOut


def model_bytes(model: SurvivalModel) -> bytes:
    """The model as an .npz archive; equal models have equal bytes."""
    described = {
        "endpoint": model.endpoint,
        "blocks": [[block.modality, block.source, block.columns] for block in model.blocks],
        "l1_ratio": model.cox.l1_ratio,
        "penalty": model.cox.penalty,
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        described=np.frombuffer(json.dumps(described).encode(), dtype=np.uint8),
        training_risks=model.training_risks,
        held_out_time_days=model.held_out.time_days,
        held_out_is_event=model.held_out.is_event,
        held_out_is_high_risk=model.held_out.is_high_risk,
        **{name: getattr(model.cox, name) for name in _COX_ARRAYS},
    )
    return buffer.getvalue()


def read_model(view: View, name: str) -> SurvivalModel:
    """The survival model of this name.

    Raises:
        NotFound: there is no model of this name.
        InvalidRequest: it is a model of another kind.
    """
    kind, content, _ = view.model(name)
    if kind != KIND:
        raise InvalidRequest(f"model {name!r} must be of kind {KIND}, got {kind}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        described = json.loads(arrays["described"].tobytes())
        cox = CoxModel(
            **{name: arrays[name] for name in _COX_ARRAYS},
            l1_ratio=described["l1_ratio"],
            penalty=described["penalty"],
        )
        held_out = HeldOut(
            arrays["held_out_time_days"],
            arrays["held_out_is_event"],
            arrays["held_out_is_high_risk"],
        )
        blocks = tuple(
            FeatureBlock(modality, source, tuple(columns))
            for modality, source, columns in described["blocks"]
        )
        return SurvivalModel(described["endpoint"], blocks, cox, arrays["training_risks"], held_out)
