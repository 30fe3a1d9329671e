"""Models that a repository of the Hugging Face hub describes beside their weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorbase.models.published import HubFile
from tumorbase.models.weights import UnusableWeights, fetching, from_hub

HUB = "hf-hub:"
_NAME = re.compile(rf"{HUB}([\w.-]+/[\w.-]+)(?:@([\w.-]+))?")


@dataclass(frozen=True)
class HubModel:
    """What a repository says of its model, in a file of `folder`, and where its weights are."""

    config: Mapping[str, Any]
    folder: Path
    weights: HubFile


def hub_model(model: str, config_file: str, weights_files: Sequence[str]) -> HubModel:
    """The model "hf-hub:OWNER/NAME" as it lies in the hub's cache, or "hf-hub:OWNER/NAME@REVISION",
    which is fetched where it does not.

    Args:
        model: its name.
        config_file: JSON that describes it.
        weights_files: names that its weights may have, the better one first.

    Raises:
        ValueError: another name.
        UnusableWeights: its description is not found, or is no JSON object.
    """
    name = _NAME.fullmatch(model)
    if not name:
        raise ValueError(f"expected {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION, got {model!r}")
    repository, revision = name[1], name[2] or ""
    weights = HubFile(repository, weights_files[0], revision, tuple(weights_files[1:]))
    path = from_hub(HubFile(repository, config_file, revision))
    if path is None:
        raise UnusableWeights(
            f"{config_file} of {model} is not in the hub's cache; fetch it with the weights: "
            f"{fetching(weights)}",
            is_missing=True,
        )
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise UnusableWeights(f"{path}: expected JSON: {error}") from error
    if not isinstance(config, dict):
        raise UnusableWeights(f"{path}: expected a JSON object, got {config!r}")
    return HubModel(config, path.parent, weights)
