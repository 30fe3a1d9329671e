"""The server starts, reports its health, honours deadlines, and stops without losing a call."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, Progress
from tumorbase.query.answers import PatientTracks, Receipt, SimilarQuestion
from tumorbase.server.client import Client
from tumorbase.server.config import ServerConfig
from tumorbase.server.local import LocalClient
from tumorbase.server.serve import serve as serve_until_stopped
from tumorbase.store.errors import InvalidRequest, NoStore, StoreBusy, Unavailable
from tumorbase.store.store import Store

Serve = Callable[..., AbstractContextManager[str]]

# A server whose `similar` takes a second.
SLOW = """
import sys, time
from pathlib import Path
import tumorbase.query.similar as module
from tumorbase.server.config import ServerConfig
from tumorbase.server.serve import serve

similar = module.similar
def slow(*arguments):
    time.sleep(1)
    return similar(*arguments)
module.similar = slow
serve(ServerConfig(Path(sys.argv[1]), port=0))
"""


@pytest.fixture
def slow_server(store_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process whose `similar` takes a second, and its address."""
    command = [sys.executable, "-c", SLOW, str(store_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(rf"tumorbase serving {store_path} on (127\.0\.0\.1:\d+)\n", line)
        assert match, line
        yield process, match[1]
        process.kill()


def test_a_call_in_flight_outlives_sigterm(
    slow_server: tuple[subprocess.Popen[str], str], store_path: Path
) -> None:
    process, address = slow_server
    with Client(address) as client, Client(address) as late:
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(client.similar(SimilarQuestion("lesion", "P03-0-1")))
        )
        asking.start()
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(Unavailable):
            late.status()
        asking.join(30)
    assert len(answers[0].hits) == 10
    assert process.wait(30) == 0
    with Store.open(store_path) as store:
        assert store.check().is_clean


def test_a_second_process_is_told_who_serves_the_store(
    slow_server: tuple[subprocess.Popen[str], str], store_path: Path
) -> None:
    process, address = slow_server
    with pytest.raises(StoreBusy, match=rf"{process.pid}.*{address}"):
        Store.open(store_path)


def test_a_killed_server_leaves_a_clean_store(
    slow_server: tuple[subprocess.Popen[str], str], store_path: Path
) -> None:
    process, address = slow_server
    with Client(address) as client:
        asking = threading.Thread(target=_ask_and_lose, args=[client])
        asking.start()
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        asking.join(30)
    process.wait(30)
    with Store.open(store_path) as store:
        assert store.check().is_clean


def _ask_and_lose(client: Client) -> None:
    with pytest.raises(Unavailable):
        client.similar(SimilarQuestion("lesion", "P03-0-1"))


def test_health_tells_of_every_service(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "tumorbase.v1.Retrieval", "tumorbase.v1.Admin"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_contract(address: str) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]))
    names = {service.name for service in answer.list_services_response.service}
    services = ["Admin", "Diagnosis", "Features", "Ingest", "Retrieval", "Survival", "Tracking"]
    assert {f"tumorbase.v1.{service}" for service in services} <= names


class Endless(LocalClient):
    """Tracks and ingests for ever, until told to stop."""

    def __init__(self) -> None:
        self.has_ended = threading.Event()

    def track_each(
        self, patient_ids: Sequence[str] = (), commit: int = 0
    ) -> Generator[PatientTracks]:
        try:
            while True:
                time.sleep(0.02)
                yield PatientTracks("P1", (), (), Receipt(1))
        finally:
            self.has_ended.set()

    def ingest(
        self,
        paths: Sequence[Path],
        options: IngestOptions,
        progress: Callable[[Progress], None] = lambda _: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> IngestSummary:
        while not is_cancelled():
            progress(Progress(1, 2, "a", "committed"))
            time.sleep(0.02)
        self.has_ended.set()
        return IngestSummary("r", {}, 0, (), 0.0)


def test_work_ends_when_the_deadline_of_its_call_has_passed(serve: Serve) -> None:
    for ask in (Client.track, lambda client: client.ingest([Path("/a")], IngestOptions())):
        endless = Endless()
        with serve(endless) as address, Client(address, timeout_seconds=0.5) as client:
            with pytest.raises(Unavailable, match="within the time allowed"):
                ask(client)
            assert endless.has_ended.wait(5)


def test_work_ends_when_its_caller_stops_reading(serve: Serve) -> None:
    from tumorbase.v1.tracking_pb2 import TrackLesionsRequest

    endless = Endless()
    with serve(endless) as address, Client(address) as client:
        stream = client._stream(client._tracking.TrackLesions, TrackLesionsRequest())
        next(stream)
        stream.close()
        assert endless.has_ended.wait(5)


def test_a_port_in_use_is_refused(address: str, tmp_path: Path) -> None:
    Store.create(tmp_path / "other").close()
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(InvalidRequest, match=r"cannot listen.*Address already in use"):
        serve_until_stopped(ServerConfig(tmp_path / "other", port=port))


def test_nothing_is_served_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(NoStore):
        serve_until_stopped(ServerConfig(tmp_path / "nowhere", port=0))


def test_listening_everywhere_in_clear_text_is_refused(store_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="--insecure"):
        serve_until_stopped(ServerConfig(store_path, host="0.0.0.0", port=0))
