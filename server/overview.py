"""What the store holds and which encoders there are, as `status` and `encoders` tell it."""

from __future__ import annotations

from dataclasses import dataclass

from tumorbase.ingest.chosen_encoders import bound_encoder
from tumorbase.models.encoders import (
    FAMILIES,
    POOLED_SUFFIX,
    EncoderSpec,
    encoder_names,
    find_entry,
    is_installed,
)
from tumorbase.models.published import PUBLISHED, describe
from tumorbase.models.weights import UnusableWeights, find_weights
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.store import Store


@dataclass(frozen=True)
class EncoderOverview:
    """An encoder, whether it is installed, and how many `vectors` of it the store holds."""

    name: str
    level: str
    encoder_id: str
    version: str
    dim: int
    weights_sha256: str
    is_standardised: bool
    is_installed: bool
    vectors: int
    weights: str = ""  # of a network: "found" or "missing"
    licence: str = ""  # of these weights
    preprocessing: str = ""  # every parameter that changes the output, JSON


@dataclass(frozen=True)
class Overview:
    """A store at its newest commit; `quarantined` counts inputs ever refused."""

    path: str
    format_version: int
    commit: int
    counts: dict[str, int]
    encoders: tuple[EncoderOverview, ...]
    snapshots: dict[str, int]
    quarantined: int
    models: tuple[str, ...]
    size_bytes: int


def store_overview(store: Store) -> Overview:
    """What the store holds."""
    status = store.status()
    return Overview(
        status.path,
        status.format_version,
        status.commit,
        status.counts,
        _stored_encoders(store, status.encoders, tells_weights=False),
        status.snapshots,
        status.quarantined,
        status.models,
        status.size_bytes,
    )


def all_encoders(store: Store | None) -> tuple[EncoderOverview, ...]:
    """The encoders of the store, if there is one, then the installed ones it has no vectors of.

    Weights of networks are looked for in $TUMORBASE_WEIGHTS and the hub's cache.
    """
    stored = _stored_encoders(store, store.status().encoders, True) if store else ()
    known = {encoder.encoder_id for encoder in stored} | {e.name for e in stored if e.licence}
    installed = map(_installed, (*encoder_names(), *FAMILIES))
    new = (e for e in installed if e.encoder_id not in known and e.name not in known)
    return (*stored, *new)


def _stored_encoders(
    store: Store, encoders: tuple[StoredEncoder, ...], tells_weights: bool
) -> tuple[EncoderOverview, ...]:
    view = store.view()
    return tuple(
        _overview(e, is_installed(e.name), view.vector_rows(e), tells_weights) for e in encoders
    )


def _installed(name: str) -> EncoderOverview:
    """An installed encoder; of a network only what is known without its weights, if they are not
    here, and of a family only its prefix.
    """
    family = FAMILIES.get(name)
    if family:
        return EncoderOverview(f"{name}MODEL", family.level, "", "", 0, "", False, True, 0)
    entry = find_entry(name)
    if entry is None or not entry.weights:
        return _overview(bound_encoder(name).spec, True, 0)
    try:
        return _overview(bound_encoder(name).spec, True, 0)
    except ValueError:  # what is missing is said by `weights path` and by ingest
        dim = entry.dim or PUBLISHED[entry.weights[0]].dim
        return EncoderOverview(name, entry.level, "", "", dim, "", False, True, 0, *_weights(name))


def _overview(
    encoder: StoredEncoder | EncoderSpec,
    is_installed: bool,
    vectors: int,
    tells_weights: bool = True,
) -> EncoderOverview:
    return EncoderOverview(
        encoder.name,
        encoder.level,
        encoder.encoder_id,
        encoder.version,
        encoder.dim,
        encoder.weights_sha256,
        encoder.is_standardised,
        is_installed,
        vectors,
        *(_weights(encoder.name) if tells_weights else ("", "")),
        preprocessing=encoder.preprocessing,
    )


def _weights(name: str) -> tuple[str, str]:
    """Whether an encoder's weights are "found" or "missing", and their licence; both empty if it
    needs none.
    """
    entry = find_entry(name.removesuffix(POOLED_SUFFIX))
    if entry is None or not entry.weights:
        return "", ""
    try:
        described = [describe(weights) for weights in entry.weights]
    except ValueError:  # another library knows its model no more
        return "missing", "not stated"
    licence = "; ".join(dict.fromkeys(weights.licence for weights in described))
    try:
        for weights in described:
            find_weights(weights, None)
    except UnusableWeights:
        return "missing", licence
    return "found", licence
