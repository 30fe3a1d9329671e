"""Every error has a status, and comes out of the client as the error that went into the server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import grpc
import pytest

from tumorbase.query.answers import PatientTracks, Receipt, Similar, SimilarQuestion
from tumorbase.server.client import Client
from tumorbase.server.config import MAX_MESSAGE_BYTES
from tumorbase.server.local import LocalClient
from tumorbase.server.status import STATUS
from tumorbase.store import errors
from tumorbase.store.errors import TumorbaseError
from tumorbase.v1.tracking_pb2 import TrackLesionsRequest

Serve = Callable[..., AbstractContextManager[str]]

ERRORS = [
    error(*("lesion", "L1") if error is errors.NotFound else ("a.dcm", "is cut"))
    if error in (errors.NotFound, errors.BadInput)
    else error(f"expected this, got {error.__name__} (µm)")
    for error in TumorbaseError.__subclasses__()
]


class Failing(LocalClient):
    """Raises its error: at once, or in a stream after the first patient."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def similar(self, question: SimilarQuestion) -> Similar:
        raise self._error

    def track_each(
        self, patient_ids: Sequence[str] = (), commit: int = 0
    ) -> Generator[PatientTracks]:
        yield PatientTracks("P1", (), (), Receipt(1))
        raise self._error


def test_every_error_has_a_status() -> None:
    assert set(STATUS) == set(TumorbaseError.__subclasses__())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_calls_and_late_errors_of_streams_come_back_whole(
    error: TumorbaseError, serve: Serve
) -> None:
    with serve(Failing(error)) as address, Client(address) as client:
        for ask in (lambda: client.similar(SimilarQuestion("lesion", "L1")), client.track):
            with pytest.raises(type(error)) as caught:
                ask()
            assert type(caught.value) is type(error)
            assert str(caught.value) == str(error)
            assert vars(caught.value) == vars(error)


def test_what_came_before_a_late_error_is_delivered(serve: Serve) -> None:
    error = errors.StoreDamaged("gone")
    with serve(Failing(error)) as address, Client(address) as client:
        stream = client._stream(client._tracking.TrackLesions, TrackLesionsRequest())
        assert next(stream).patient_id == "P1"
        with pytest.raises(errors.StoreDamaged):
            next(stream)


def test_bugs_are_no_errors_of_the_family(serve: Serve) -> None:
    with (
        serve(Failing(ZeroDivisionError("bug"))) as address,
        Client(address) as client,
        pytest.raises(grpc.RpcError, match="ZeroDivisionError") as caught,
    ):
        client.similar(SimilarQuestion("lesion", "L1"))
    assert not isinstance(caught.value, TumorbaseError)


def test_no_server_is_unavailable() -> None:
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1"),
    ):
        client.status()


def test_a_question_too_large_to_send_is_refused(address: str) -> None:
    with Client(address) as client, pytest.raises(errors.InvalidRequest, match="too large"):
        client.similar(SimilarQuestion("lesion", "L" * (MAX_MESSAGE_BYTES + 1)))


def test_a_server_without_the_service_is_told_from_a_bug() -> None:
    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    with (
        Client(f"127.0.0.1:{port}") as client,
        pytest.raises(errors.InvalidRequest, match="does not know this call"),
    ):
        client.status()
    other.stop(None).wait()
