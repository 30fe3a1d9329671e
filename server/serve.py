"""The server: a store, its services, and how they start and stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import ModuleType

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tumorbase.server.admin import Admin
from tumorbase.server.config import MAX_MESSAGE_BYTES, ServerConfig
from tumorbase.server.diagnosis import Diagnosis
from tumorbase.server.features import Features
from tumorbase.server.ingesting import Ingest
from tumorbase.server.interceptors import ErrorInterceptor, TokenInterceptor
from tumorbase.server.local import LocalClient
from tumorbase.server.retrieval import Retrieval
from tumorbase.server.security import (
    address_of,
    check_free,
    check_listening,
    read_token,
    server_credentials,
)
from tumorbase.server.survival import Survival
from tumorbase.server.threads import Threads
from tumorbase.server.tracking import Tracking
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.store import Store
from tumorbase.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    diagnosis_pb2,
    diagnosis_pb2_grpc,
    features_pb2,
    features_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
    survival_pb2,
    survival_pb2_grpc,
    tracking_pb2,
    tracking_pb2_grpc,
)

_CONTRACT = (
    admin_pb2,
    diagnosis_pb2,
    features_pb2,
    ingest_pb2,
    retrieval_pb2,
    survival_pb2,
    tracking_pb2,
)
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # else a second server on the port would start, and share its calls
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


def serve(config: ServerConfig) -> None:
    """Serve the store until SIGTERM or SIGINT, then let the calls in flight end, and close it.

    Prints one line when ready.

    Raises:
        InvalidRequest: it may not, or cannot, listen there.
        NotFound, StoreBusy, StoreVersion, StoreDamaged: as `Store.open`.
    """
    check_listening(config)
    with Store.open(config.store) as store:
        asyncio.run(_serve(config, store))


async def _serve(config: ServerConfig, store: Store) -> None:
    async with running_server(config, LocalClient(store)) as port:
        address = address_of(config.host, port)
        store.describe_owner(f"process {os.getpid()}, serving on {address}")
        told_to_stop = _stop_signal()
        print(f"tumorbase serving {config.store} on {address}", flush=True)
        await told_to_stop.wait()


@asynccontextmanager
async def running_server(config: ServerConfig, local: LocalClient) -> AsyncIterator[int]:
    """The port of a server that answers from `local`, until the block is left.

    It then takes no new calls, and those in flight have `config.grace_seconds` to end.

    Raises:
        InvalidRequest: it cannot listen there.
    """
    threads = Threads(config.threads)
    health_servicer = health.aio.HealthServicer()
    server = grpc.aio.server(interceptors=_interceptors(config), options=_OPTIONS)
    _add_services(server, local, threads)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = list(_service_names(_CONTRACT))
    known = [*names, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(known, server)
    port = _listen(server, config)
    await server.start()
    for name in ("", *names):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield port
    finally:
        await health_servicer.enter_graceful_shutdown()
        await server.stop(config.grace_seconds)
        threads.close()


def _interceptors(config: ServerConfig) -> list[grpc.aio.ServerInterceptor]:
    if config.token_file is None:
        return [ErrorInterceptor()]
    return [TokenInterceptor(read_token(config.token_file)), ErrorInterceptor()]


def _add_services(server: grpc.aio.Server, local: LocalClient, threads: Threads) -> None:
    retrieval_pb2_grpc.add_RetrievalServicer_to_server(Retrieval(local, threads), server)
    tracking_pb2_grpc.add_TrackingServicer_to_server(Tracking(local, threads), server)
    survival_pb2_grpc.add_SurvivalServicer_to_server(Survival(local, threads), server)
    diagnosis_pb2_grpc.add_DiagnosisServicer_to_server(Diagnosis(local, threads), server)
    features_pb2_grpc.add_FeaturesServicer_to_server(Features(local, threads), server)
    ingest_pb2_grpc.add_IngestServicer_to_server(Ingest(local, threads), server)
    admin_pb2_grpc.add_AdminServicer_to_server(Admin(local, threads), server)


def _service_names(contract: Iterable[ModuleType]) -> Iterable[str]:
    for module in contract:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield service.full_name


def _listen(server: grpc.aio.Server, config: ServerConfig) -> int:
    address = address_of(config.host, config.port)
    check_free(config.host, config.port)
    credentials = server_credentials(config)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:  # taken since it was found free
        raise InvalidRequest(f"cannot listen on {address}: {error}") from error


def _stop_signal() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT; a second one ends the process at once."""
    loop, told_to_stop = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        told_to_stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return told_to_stop
