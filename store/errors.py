"""The errors of tumorbase: one flat family, one class for each thing a caller can act upon."""

from __future__ import annotations


class TumorbaseError(Exception):
    """Anything that a caller of tumorbase can do something about."""


class NotFound(TumorbaseError):
    """The store has no such thing."""

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"no {kind} {identifier!r} in the store")
        self.kind = kind
        self.identifier = identifier


class InvalidRequest(TumorbaseError):
    """A question that cannot be answered as asked; the message says what was expected."""


class BadInput(TumorbaseError):
    """An input that cannot be ingested: quarantined under its path with this reason."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, str]]:
        """Workers send it across processes; both arguments travel."""
        return (BadInput, (self.path, self.reason))


class NoStore(TumorbaseError):
    """There is no store at a path."""


class StoreBusy(TumorbaseError):
    """Another process owns the store directory."""


class StoreVersion(TumorbaseError):
    """The store was written in a format that this version does not read."""


class StoreDamaged(TumorbaseError):
    """Files of the store are missing, cannot be read or do not agree; `check` says more."""


class StoreNotWritable(TumorbaseError):
    """The store's disk is full, or its directory cannot be written."""


class WorkerDied(TumorbaseError):
    """A process that reads inputs was killed."""


class MissingWeights(TumorbaseError):
    """A published network was asked for and its weights are not here."""


class NotEnoughData(TumorbaseError):
    """Too few patients, events or features to answer or to train."""


class Unavailable(TumorbaseError):
    """The server cannot be reached, or is shutting down."""


class Unauthenticated(TumorbaseError):
    """The server wants a token, and the call bears none or another."""
