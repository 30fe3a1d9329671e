"""A trained survival network as it is kept in the store: safetensors that describe themselves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

from tumorbase.models.gene_groups import GeneGroups
from tumorbase.models.survival_architectures import make_network
from tumorbase.query.network_inputs import InputSpec, Scaling
from tumorbase.query.survival_model import NETWORK_KIND, HeldOut
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.view import View

_NETWORK, _SCALING, _HELD_OUT = "network.", "scaling.", "held_out."  # prefixes of keys


@dataclass(frozen=True)
class NetworkModel:
    """A network of all patients, what it takes, and the risks of its patients."""

    endpoint: str
    architecture: str
    inputs: InputSpec
    network: nn.Module
    scaling: Scaling
    edges_days: np.ndarray  # of its time bins, (bins + 1,)
    training_risks: np.ndarray  # ascending
    held_out: HeldOut


def network_bytes(model: NetworkModel) -> bytes:
    """The model as a safetensors file; equal models have equal bytes."""
    arrays = {
        "edges_days": model.edges_days,
        "training_risks": model.training_risks,
        **{_SCALING + name: array for name, array in vars(model.scaling).items()},
        **{_HELD_OUT + name: array for name, array in vars(model.held_out).items()},
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    weights = {_NETWORK + key: value for key, value in model.network.state_dict().items()}
    described = {
        "endpoint": model.endpoint,
        "architecture": model.architecture,
        "inputs": asdict(model.inputs),
    }
    # One entry, since the entries of a header have no order.
    return save({**tensors, **weights}, metadata={"model": json.dumps(described)})


def read_network(view: View, name: str) -> NetworkModel:
    """The survival network of this name, in evaluation mode.

    Raises:
        NotFound: there is no model of this name.
        InvalidRequest: it is a model of another kind.
    """
    kind, content, _ = view.model(name)
    if kind != NETWORK_KIND:
        raise InvalidRequest(f"model {name!r} must be of kind {NETWORK_KIND}, got {kind}")
    tensors = load(content)
    described = json.loads(_metadata(content)["model"])
    spec = _input_spec(described["inputs"])
    # Random weights, which are not needed, would be drawn from the numbers of a training at work.
    with torch.device("meta"):
        network = make_network(described["architecture"], spec.patch_dim, spec.omic_sizes)
    network.load_state_dict(_part(tensors, _NETWORK), assign=True)
    return NetworkModel(
        described["endpoint"],
        described["architecture"],
        spec,
        network.eval(),
        Scaling(**{key: array.numpy() for key, array in _part(tensors, _SCALING).items()}),
        tensors["edges_days"].numpy(),
        tensors["training_risks"].numpy(),
        HeldOut(**{key: array.numpy() for key, array in _part(tensors, _HELD_OUT).items()}),
    )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose keys begin with the prefix, without it."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: its header is JSON, after the length of it (8 bytes)."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def _input_spec(described: dict[str, Any]) -> InputSpec:
    """The spec from what `asdict` and JSON made of it."""
    groups = described["groups"]
    if groups is not None:
        groups = GeneGroups(tuple(groups["names"]), tuple(map(tuple, groups["columns"])))
    return InputSpec(**{**described, "columns": tuple(described["columns"]), "groups": groups})
