"""Weights of a self-normalising network of genomic profiles, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from golden import fill
from tumorbase.models.networks import build


def save_snn(folder: Path, columns: Sequence[str]) -> Path:
    """Weights of an SNN of these columns, filled as `golden.fill` does, mean 0 and deviation 2."""
    network = fill(build("snn", input_dim=len(columns)))
    notes = {"columns": columns, "config": {"input_dim": len(columns), "size": "small"}}
    statistics = {"input_mean": torch.zeros(len(columns))}
    statistics["input_deviation"] = 2 * torch.ones(len(columns))
    metadata = {name: json.dumps(value) for name, value in notes.items()}
    save_file(network.state_dict() | statistics, folder / "snn.safetensors", metadata)
    return folder
