"""What is known of the published weights, and what became of looking for them and loading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tumorbase.models.encoders import Runtime, build_encoder, find_entry
from tumorbase.models.published import PUBLISHED, Weights, describe
from tumorbase.models.weights import UnusableWeights, find_weights
from tumorbase.store.errors import InvalidRequest


@dataclass(frozen=True)
class WeightsReport:
    """Weights and where they are.

    `state` is "published" (the very bytes), "own" (a user's, or of which no hash is public),
    "missing" or "wrong"; `problem` says why for the last two.
    """

    name: str
    state: str
    network: str
    dim: int
    preprocessing: str
    source: str
    licence: str
    is_commercial: bool
    path: str = ""
    sha256: str = ""
    problem: str = ""


def describe_all(folder: Path | None) -> list[WeightsReport]:
    """All described weights, in the order of their names; none is loaded."""
    return [_report(PUBLISHED[name], folder, is_loaded=False) for name in sorted(PUBLISHED)]


def verify_weights(
    names: Sequence[str], folder: Path | None, is_loaded: bool = True
) -> list[WeightsReport]:
    """The weights called `names`, or of the encoders called so, else all that are not missing;
    loaded into their networks if `is_loaded`.

    Raises:
        InvalidRequest: no weights or encoder have one of the names.
    """
    entries = ((name, find_entry(name)) for name in names or sorted(PUBLISHED))
    wanted = [entry.weights if entry and entry.weights else (name,) for name, entry in entries]
    try:
        described = [describe(name) for name in dict.fromkeys(chain(*wanted))]
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    reports = (_report(weights, folder, is_loaded) for weights in described)
    return [report for report in reports if names or report.state != "missing"]


def _report(weights: Weights, folder: Path | None, is_loaded: bool) -> WeightsReport:
    told = (weights.preprocessing, weights.source, weights.licence, weights.is_commercial)
    about = (weights.network, weights.dim, *told)
    try:
        found = find_weights(weights, folder)
    except UnusableWeights as error:
        state = "missing" if error.is_missing else "wrong"
        return WeightsReport(weights.name, state, *about, problem=str(error))
    place = (str(found.path), found.sha256)
    if is_loaded:
        from tumorbase.models.network_encoder import load_published  # torch takes seconds

        try:
            load_published(weights, found)
            if find_entry(weights.name):  # an encoder may ask more of its file
                build_encoder(weights.name, Runtime(weights=folder))
        except ValueError as error:
            return WeightsReport(weights.name, "wrong", *about, *place, str(error))
    return WeightsReport(weights.name, "published" if found.is_published else "own", *about, *place)
