"""Errors as gRPC status codes, and back: the only file that knows the codes of errors."""

from __future__ import annotations

import json
from collections.abc import Sequence

import grpc

from tumorbase.store import errors
from tumorbase.store.errors import TumorbaseError

STATUS: dict[type[TumorbaseError], grpc.StatusCode] = {
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BadInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NoStore: grpc.StatusCode.NOT_FOUND,
    errors.StoreBusy: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreVersion: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreDamaged: grpc.StatusCode.DATA_LOSS,
    errors.StoreNotWritable: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.WorkerDied: grpc.StatusCode.ABORTED,
    errors.MissingWeights: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotEnoughData: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
}

# Trailing metadata that tells the client which error it was, and with what it was built.
ERROR_KEY = "tumorbase-error-bin"

Metadata = Sequence[tuple[str, str | bytes]]


def error_metadata(error: TumorbaseError) -> tuple[tuple[str, bytes]]:
    """The trailing metadata from which `error_of` builds the same error again."""
    # Attributes bear the names of the constructor's arguments; the others have the message alone.
    arguments = vars(error) or str(error)
    return ((ERROR_KEY, json.dumps([type(error).__name__, arguments]).encode()),)


def error_of(call: grpc.RpcError, address: str) -> Exception:
    """The error that the server at `address` raised, or what became of the call.

    Errors outside the family, which are bugs of the server, come back as the call's own error.
    """
    assert isinstance(call, grpc.Call)
    for key, content in call.trailing_metadata() or ():
        if key == ERROR_KEY:
            name, arguments = json.loads(content)
            error_class: type[TumorbaseError] = getattr(errors, name)
            return (
                error_class(**arguments) if isinstance(arguments, dict) else error_class(arguments)
            )
    if call.code() is grpc.StatusCode.UNAVAILABLE:
        return errors.Unavailable(f"cannot reach the server at {address}: {call.details()}")
    if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.Unavailable(f"the server at {address} did not answer within the time allowed")
    if call.code() is grpc.StatusCode.CANCELLED:
        return errors.Unavailable(f"the server at {address} ended the call before it was done")
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        return errors.InvalidRequest(
            f"the server at {address} does not know this call; is it an older tumorbase?"
        )
    # Errors of ours bear their metadata: this one is of gRPC itself, a message over the limit.
    if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.InvalidRequest(f"too large a message for {address}: {call.details()}")
    return call
