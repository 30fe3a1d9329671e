"""The encoders: what turns a lesion, patch, nucleus or profile into a vector, listed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

LEVELS = ("lesion", "patch", "nucleus", "slide", "patient", "profile")


@dataclass(frozen=True)
class EncoderSpec:
    """What an embedding is bound to; where any of it differs, it is another encoder.

    `is_standardised` encoders yield raw measurements in their own units: the store keeps them raw,
    and queries standardise them (zero mean, unit deviation) by the cohort statistics of the commit
    they read. All vectors are compared by the cosine distance.
    """

    name: str
    version: str
    level: str
    dim: int
    weights_sha256: str
    preprocessing: str  # canonical JSON: every parameter that changes the output
    is_standardised: bool = False
    feature_names: tuple[str, ...] = ()

    @property
    def preprocessing_sha256(self) -> str:
        """Hash of the canonical preprocessing parameters, hexadecimal."""
        return hashlib.sha256(self.preprocessing.encode()).hexdigest()

    @property
    def encoder_id(self) -> str:
        """Name, version and eight digits over both hashes: under this, vectors are stored."""
        both = (self.weights_sha256 + self.preprocessing_sha256).encode()
        return f"{self.name}-{self.version}-{hashlib.sha256(both).hexdigest()[:8]}"


def canonical(parameters: Mapping[str, Any]) -> str:
    """Parameters as JSON with sorted keys, so that equal parameters have equal hashes."""
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"))


class Encoder(Protocol):
    """Anything with a spec that turns a batch of its level's inputs into vectors."""

    spec: EncoderSpec

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Vectors of the batch's items, float32 of shape (len(batch), spec.dim), finite."""
        ...


# name -> (module, factory); the module is imported when the encoder is first asked for.
ENCODERS: dict[str, tuple[str, str]] = {
    "radiomics": ("tumorbase.models.lesion_radiomics", "LesionRadiomics"),
    "radiomics-mr": ("tumorbase.models.lesion_radiomics", "mr_radiomics"),
    "radiomics-pt": ("tumorbase.models.lesion_radiomics", "pt_radiomics"),
    "radiomics-2d": ("tumorbase.models.lesion_radiomics", "KeySliceRadiomics"),
    "measurement": ("tumorbase.models.lesion_measurement", "LesionMeasurement"),
    "stain-texture": ("tumorbase.models.stain_texture", "StainTexture"),
    "nucleus-shape": ("tumorbase.models.nucleus_shape", "NucleusShape"),
}


# Made where they are used, from a store's own profiles, or by pooling vectors of other encoders.
_FITTED = ("gene-signatures", "gene-pca")
POOLED_SUFFIX = "-pooled"


def is_installed(name: str) -> bool:
    """Whether vectors of this encoder can be made here."""
    return name.removesuffix(POOLED_SUFFIX) in (*_FITTED, *encoder_names())


def build_encoder(name: str, **config: Any) -> Encoder:
    """The encoder called `name`: built in, or an entry point of the group `tumorbase.encoders`.

    Raises:
        ValueError: no encoder has this name; the message lists the names there are.
    """
    if name in ENCODERS:
        module, factory = ENCODERS[name]
        return getattr(import_module(module), factory)(**config)
    plugged = {entry.name: entry for entry in entry_points(group="tumorbase.encoders")}
    if name not in plugged:
        known = ", ".join(sorted({*ENCODERS, *plugged}))
        raise ValueError(f"unknown encoder {name!r}; there are {known}")
    factory_function: Callable[..., Encoder] = plugged[name].load()
    return factory_function(**config)


def encoder_names() -> list[str]:
    """Names of all encoders, built in and plugged in, sorted."""
    return sorted({*ENCODERS, *(entry.name for entry in entry_points(group="tumorbase.encoders"))})
