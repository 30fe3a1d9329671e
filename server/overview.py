"""What the store holds and which encoders there are, as `status` and `encoders` tell it."""

from __future__ import annotations

from dataclasses import dataclass

from tumorbase.models.encoders import EncoderSpec, build_encoder, encoder_names, is_installed
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
        _stored_encoders(store, status.encoders),
        status.snapshots,
        status.quarantined,
        status.models,
        status.size_bytes,
    )


def all_encoders(store: Store | None) -> tuple[EncoderOverview, ...]:
    """The encoders of the store, if there is one, then the installed ones it has no vectors of."""
    stored = _stored_encoders(store, store.status().encoders) if store else ()
    installed = (_overview(spec, True, 0) for spec in _installed_specs())
    known = {encoder.encoder_id for encoder in stored}
    return (*stored, *(encoder for encoder in installed if encoder.encoder_id not in known))


def _stored_encoders(
    store: Store, encoders: tuple[StoredEncoder, ...]
) -> tuple[EncoderOverview, ...]:
    view = store.view()
    return tuple(_overview(e, is_installed(e.name), view.vector_rows(e)) for e in encoders)


def _installed_specs() -> list[EncoderSpec]:
    return [build_encoder(name).spec for name in encoder_names()]


def _overview(
    encoder: StoredEncoder | EncoderSpec, is_installed: bool, vectors: int
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
    )
