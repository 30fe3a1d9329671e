"""The encoders: what turns a lesion, patch, nucleus, scan or profile into a vector, listed once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np

LEVELS = (
    "lesion",
    "body_part",
    "patch",
    "region",
    "nucleus",
    "slide",
    "patient",
    "profile",
    "series",
    "case",
)


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
        """Name, version and eight digits over both hashes: under this, vectors are stored. What the
        name of a table cannot hold is replaced.
        """
        both = (self.weights_sha256 + self.preprocessing_sha256).encode()
        name = re.sub(r"[^\w.-]", "_", self.name)
        return f"{name}-{self.version}-{hashlib.sha256(both).hexdigest()[:8]}"


def canonical(parameters: Mapping[str, Any]) -> str:
    """Parameters as JSON with sorted keys, so that equal parameters have equal hashes."""
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"))


class Encoder(Protocol):
    """Anything with a spec that turns a batch of its level's inputs into vectors.

    What those of lesions take is said by `lesion_crop.input_kind`.
    """

    spec: EncoderSpec

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Vectors of the batch's items, float32 of shape (len(batch), spec.dim), finite."""
        ...


class CaseEncoder(Encoder, Protocol):
    """An encoder of level "series", which encodes a study's scans together and fuses them.

    Its inputs are `scan_preparation.Sample`s.
    """

    case_spec: EncoderSpec  # of level "case", named `spec.name` and `POOLED_SUFFIX`

    def encode_case(self, samples: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of the samples' scans, float32 (scans, dim), and of their case, (1, dim)."""
        ...


class DiagnosticEncoder(CaseEncoder, Protocol):
    """One whose network also says what a case shows."""

    def probabilities(self, cases: np.ndarray) -> np.ndarray:
        """Of each class by itself, float32 (cases, classes), from vectors of cases (cases, dim)."""
        ...


class TextEncoder(Encoder, Protocol):
    """One that turns texts into vectors too, in the space of its other inputs."""

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, float32 of shape (len(texts), spec.dim), finite."""
        ...


@dataclass(frozen=True)
class Runtime:
    """Where networks run and find their weights: what the encoders that are networks are told.

    `remote` runs a batch through the network of an encoder in another process, the one that has
    the GPU; without it the network is loaded here.
    """

    device: str = "cpu"  # or "cuda"
    weights: Path | None = None  # folder; else $TUMORBASE_WEIGHTS, else the hub
    is_compiled: bool = False
    remote: Callable[..., np.ndarray] | None = None  # (encoder's name, *inputs) -> outputs


@dataclass(frozen=True)
class EncoderEntry:
    """A listed encoder. `factory` is "module:callable"; the module is imported when it is built.

    Encoders with `weights` are networks: their factory takes the encoder's name and a `Runtime`.
    That of the others takes nothing. The weights are names of `published.describe`.
    """

    level: str
    factory: str
    weights: tuple[str, ...] = ()
    dim: int = 0  # of the vectors, where it is not that of the weights
    embeds_text: bool = False  # it is a `TextEncoder`
    diagnoses: bool = False  # it is a `DiagnosticEncoder`


ENCODERS: dict[str, EncoderEntry] = {
    "radiomics": EncoderEntry("lesion", "tumorbase.models.lesion_radiomics:LesionRadiomics"),
    "radiomics-mr": EncoderEntry("lesion", "tumorbase.models.lesion_radiomics:mr_radiomics"),
    "radiomics-pt": EncoderEntry("lesion", "tumorbase.models.lesion_radiomics:pt_radiomics"),
    "radiomics-2d": EncoderEntry("lesion", "tumorbase.models.lesion_radiomics:KeySliceRadiomics"),
    "measurement": EncoderEntry("lesion", "tumorbase.models.lesion_measurement:LesionMeasurement"),
    "stain-texture": EncoderEntry("patch", "tumorbase.models.stain_texture:StainTexture"),
    "nucleus-shape": EncoderEntry("nucleus", "tumorbase.models.nucleus_shape:NucleusShape"),
    **{
        name: EncoderEntry(
            "nucleus", "tumorbase.models.hovernet_encoder:HoVerNetEncoder", weights=(name,)
        )
        for name in (
            "hovernet-pannuke",
            "hovernet-monusac",
            "hovernet-consep",
            "hovernet-kumar",
        )
    },
    **{
        name: EncoderEntry(
            "patch", "tumorbase.models.patch_encoders:published_patch_encoder", weights=(name,)
        )
        for name in (
            "hipt-vit256",
            "resnet50-layer3",
            "uni",
            "uni2-h",
            "virchow",
            "virchow2",
            "prov-gigapath",
            "h-optimus-0",
            "h-optimus-1",
        )
    },
    "hipt-4k": EncoderEntry(
        "region",
        "tumorbase.models.hipt_encoder:HiptRegionEncoder",
        weights=("hipt-vit256", "hipt-vit4k"),
        dim=576,
    ),
    "snn": EncoderEntry("profile", "tumorbase.models.snn_encoder:SnnEncoder", weights=("snn",)),
    **{
        name: EncoderEntry(
            "lesion", "tumorbase.models.deeplesion_encoders:lesion_embedder", weights=(name,)
        )
        for name in ("lesion-graph", "lesanet")
    },
    "ssbr": EncoderEntry(
        "body_part", "tumorbase.models.deeplesion_encoders:body_part_regressor", weights=("ssbr",)
    ),
    "radnet": EncoderEntry(
        "series",
        "tumorbase.models.radnet_encoder:RadNetEncoder",
        weights=("radnet",),
        diagnoses=True,
    ),
}

# Networks of other libraries by their own names, each the prefix and then the name.
FAMILIES: dict[str, EncoderEntry] = {
    "timm-": EncoderEntry("patch", "tumorbase.models.timm_models:timm_encoder"),
    "torchvision-": EncoderEntry(
        "patch", "tumorbase.models.torchvision_models:torchvision_encoder"
    ),
    "open-clip-": EncoderEntry(
        "patch", "tumorbase.models.open_clip_models:OpenClipEncoder", embeds_text=True
    ),
}

# Made where they are used, from a store's own profiles, or by pooling vectors of other encoders.
_FITTED = ("gene-signatures", "gene-pca")
POOLED_SUFFIX = "-pooled"


def default_encoder_names() -> list[str]:
    """Names of the encoders that need no weights: what ingest uses unless told otherwise."""
    return [name for name, entry in ENCODERS.items() if not entry.weights]


def is_installed(name: str) -> bool:
    """Whether vectors of this encoder can be made here; a network may still lack its weights."""
    own = name.removesuffix(POOLED_SUFFIX)
    return own in _FITTED or is_known(own)


def encoder_level(name: str) -> str:
    """The level of an encoder, told without looking for weights.

    Raises:
        ValueError: no encoder has this name.
    """
    entry = find_entry(name)
    return entry.level if entry else _plugged_in(name)().spec.level


def build_encoder(name: str, runtime: Runtime | None = None) -> Encoder:
    """The encoder called `name`: built in, or an entry point of the group `tumorbase.encoders`.

    A network reads its weights when it first encodes.

    Raises:
        ValueError: no encoder has this name, or its weights are not found.
    """
    entry = find_entry(name)
    if entry is None:
        return _plugged_in(name)()
    module, _, factory = entry.factory.partition(":")
    make: Callable[..., Encoder] = getattr(import_module(module), factory)
    return make(name, runtime or Runtime()) if entry.weights else make()


def find_entry(name: str) -> EncoderEntry | None:
    """The listed encoder called `name`, else that of the family whose prefix it has, else None."""
    for prefix, family in FAMILIES.items():
        if name.startswith(prefix) and name != prefix:
            return replace(family, weights=(name,))
    return ENCODERS.get(name)


def is_network(name: str) -> bool:
    """Whether an encoder is a listed network, which needs weights."""
    entry = find_entry(name)
    return entry is not None and bool(entry.weights)


def is_known(name: str) -> bool:
    """Whether there is an encoder of this name, with or without its weights."""
    return find_entry(name) is not None or name in _plugged()


def encoder_names() -> list[str]:
    """Names of all encoders, built in and plugged in, sorted."""
    return sorted({*ENCODERS, *_plugged()})


def _plugged() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="tumorbase.encoders")}


def _plugged_in(name: str) -> Callable[[], Encoder]:
    plugged = _plugged()
    if name not in plugged:
        raise ValueError(f"unknown encoder {name!r}; there are {', '.join(encoder_names())}")
    factory: Callable[[], Encoder] = plugged[name].load()
    return factory
