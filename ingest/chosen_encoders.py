"""Which encoders a run uses: those named, and the built-in ones of each level that none is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tumorbase.ingest.item import Context
from tumorbase.models.encoders import (
    Encoder,
    EncoderSpec,
    Runtime,
    build_encoder,
    default_encoder_names,
    encoder_level,
    is_network,
)
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.models.weights import UnusableWeights
from tumorbase.store.errors import InvalidRequest, MissingWeights

if TYPE_CHECKING:
    from tumorbase.models.hovernet_encoder import HoVerNetEncoder

PATCHES = PatchGeometry()

# Modality -> its radiomics; whichever of them is named stands for that of the volume's modality.
RADIOMICS = {"CT": "radiomics", "MR": "radiomics-mr", "PT": "radiomics-pt"}


def resolve_encoders(named: Sequence[str]) -> tuple[str, ...]:
    """Names of all encoders of a run: the built-in ones first, in their order.

    Raises:
        ValueError: there is no encoder of a name.
    """
    named_levels = set(map(encoder_level, named))
    built_in = default_encoder_names()
    chosen = {*named, *(n for n in built_in if encoder_level(n) not in named_levels)}
    if not chosen.isdisjoint(RADIOMICS.values()):
        chosen |= set(RADIOMICS.values())
    return (*filter(chosen.__contains__, built_in), *sorted(chosen - set(built_in)))


def runtime_for(
    named: Sequence[str], device: str, weights: str | None, is_compiled: bool = False
) -> Runtime:
    """Where the networks among the encoders `named` compute and find their weights.

    Raises:
        InvalidRequest: there is no such device, or it is not here.
    """
    folder = Path(weights) if weights else None
    if device == "auto" and not any(map(is_network, named)):
        return Runtime(weights=folder)  # torch takes seconds, and nobody needs to know
    from tumorbase.models.inference import resolve_device

    try:
        return Runtime(resolve_device(device), folder, is_compiled)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def encoder_ids(
    encoders: Sequence[str], runtime: Runtime, patches: PatchGeometry
) -> dict[str, str]:
    """Name to id of a run's encoders; `patches` are what those of patches are given.

    Raises:
        MissingWeights: one is a network, and its weights are not found.
        InvalidRequest: one cannot be built.
    """
    try:
        return {name: bound_encoder(name, runtime, patches).spec.encoder_id for name in encoders}
    except UnusableWeights as error:
        raise MissingWeights(str(error)) from error
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def encoders_of(context: Context, level: str) -> tuple[Encoder, ...]:
    """The run's encoders of a level, in the order of the run; built once a process.

    Raises:
        UnusableWeights: the weights of one are not found, or are others than when the run began.
    """
    return _built(context.encoders, level, context.runtime, context.patches, context.encoder_ids)


def chosen_encoder(context: Context, name: str) -> Encoder | None:
    """The encoder of this name if the run uses it."""
    level = encoder_level(name)
    return next((e for e in encoders_of(context, level) if e.spec.name == name), None)


def finds_nuclei(encoder: Encoder) -> TypeGuard[HoVerNetEncoder]:
    """Whether an encoder of nuclei looks for them in pixels; others are given their shapes."""
    return encoder.spec.level == "nucleus" and is_network(encoder.spec.name)


@lru_cache(maxsize=16)
def _built(
    names: tuple[str, ...],
    level: str,
    runtime: Runtime,
    patches: PatchGeometry,
    ids: tuple[str, ...],
) -> tuple[Encoder, ...]:
    built = tuple(
        bound_encoder(name, runtime, patches) for name in names if encoder_level(name) == level
    )
    changed = [e.spec.name for e in built if ids and e.spec.encoder_id not in ids]
    if changed:
        raise UnusableWeights(f"weights of {changed[0]} changed while they were in use")
    return built


def bound_encoder(
    name: str, runtime: Runtime | None = None, patches: PatchGeometry = PATCHES
) -> Encoder:
    """The encoder called `name`; one of patches is bound to how these are cut.

    Raises:
        ValueError: as `build_encoder`.
    """
    encoder = build_encoder(name, runtime)
    is_of_patches = encoder.spec.level == "patch"
    return _OfPatches(encoder, patches.bind(encoder.spec)) if is_of_patches else encoder


@dataclass
class _OfPatches:
    """An encoder of patches whose vectors are bound to how these are cut."""

    encoder: Encoder
    spec: EncoderSpec

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        return self.encoder.encode(batch)
