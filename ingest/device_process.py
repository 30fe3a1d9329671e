"""One process has the GPU: it runs the networks for all reading workers, and fills its batches from
whatever they are reading, across the borders of items.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection, Listener
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

from tumorbase.ingest.worker import die_with_parent
from tumorbase.models.encoders import Runtime, is_network
from tumorbase.models.once import Answers, found_so_far, remember
from tumorbase.store.errors import WorkerDied

_KEY_BYTES = 32
_BACKLOG = 128  # threads of workers that connect at once
_here = threading.local()  # a connection a thread: one answer at a time comes back through each


@dataclass(frozen=True)
class RemoteNetworks:
    """Runs batches in the process at `address`; what `Runtime.remote` is in a worker."""

    address: str
    key: bytes

    def __call__(self, name: str, *inputs: np.ndarray) -> np.ndarray:
        """The output of the network of encoder `name`.

        Raises:
            ValueError: the network does not take these inputs.
            WorkerDied: the process is gone.
        """
        try:
            connection = self._connection()
            connection.send((name, len(inputs)))
            for values in inputs:
                _send(connection, values)
            failure: Exception | None = connection.recv()
            if failure:
                raise failure
            return _receive(connection)
        except (EOFError, ConnectionError) as error:
            raise WorkerDied(
                "the process that runs the networks died, perhaps for want of GPU memory; what is "
                "committed stays, and the next run goes on from there"
            ) from error

    def _connection(self) -> Connection:
        if getattr(_here, "address", None) != self.address:
            _here.connection = Client(self.address, "AF_UNIX", authkey=self.key)
            _here.address = self.address
        connection: Connection = _here.connection
        return connection


@contextmanager
def networks_apart(names: Sequence[str], runtime: Runtime, workers: int) -> Iterator[Runtime]:
    """What workers are told of the networks among the encoders `names`: to run them in a process of
    their own where several workers would share a GPU, and else as `runtime` says.
    """
    networks = list(filter(is_network, names))
    if runtime.device != "cuda" or workers == 1 or not networks:
        yield runtime
        return
    with DeviceProcess(networks, runtime) as process:
        yield process.runtime


class DeviceProcess:
    """A context manager: its `runtime` is what workers are told instead of the device's own."""

    def __init__(self, names: Sequence[str], runtime: Runtime) -> None:
        """Start the process; networks are loaded when they are first needed.

        Args:
            names: of the encoders that are networks.
            runtime: with the device and the folder of weights.
        """
        spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        key = os.urandom(_KEY_BYTES)
        ours, theirs = spawn.Pipe()
        told = (theirs, key, tuple(names), runtime, found_so_far())
        self._process = spawn.Process(target=_serve, args=told)
        self._process.start()
        theirs.close()
        try:
            address = ours.recv()
        except EOFError as error:
            raise WorkerDied("the process that runs the networks did not start") from error
        self.runtime = replace(runtime, remote=RemoteNetworks(address, key))

    def __enter__(self) -> DeviceProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join()


@dataclass(frozen=True)
class _Request:
    name: str
    inputs: list[np.ndarray]
    output: Future[np.ndarray]

    def goes_with(self, other: _Request) -> bool:
        """Whether both can be in one batch."""
        own, others = ([values.shape[1:] for values in r.inputs] for r in (self, other))
        return self.name == other.name and own == others


def _serve(
    ready: Connection,
    key: bytes,
    names: tuple[str, ...],
    runtime: Runtime,
    found: Answers,
) -> None:
    remember(found)
    threading.Thread(target=die_with_parent, daemon=True).start()
    from tumorbase.models.encoders import build_encoder

    encoders = {name: build_encoder(name, runtime) for name in names}
    requests: SimpleQueue[_Request] = SimpleQueue()
    with Listener(family="AF_UNIX", backlog=_BACKLOG, authkey=key) as listener:
        ready.send(listener.address)
        threading.Thread(target=_accept, args=(listener, requests), daemon=True).start()
        _run(encoders, requests)


def _accept(listener: Listener, requests: SimpleQueue[_Request]) -> None:
    while True:
        answer = (listener.accept(), requests)
        threading.Thread(target=_answer, args=answer, daemon=True).start()


def _answer(connection: Connection, requests: SimpleQueue[_Request]) -> None:
    """Take in the requests of one worker's thread, and send back what came of them."""
    while True:
        try:
            name, count = connection.recv()
            inputs = [_receive(connection) for _ in range(count)]
        except (EOFError, ConnectionError):
            return  # the worker is done
        request = _Request(name, inputs, Future())
        requests.put(request)
        failure = request.output.exception()
        connection.send(failure)
        if failure is None:
            _send(connection, request.output.result())


def _run(encoders: dict[str, Any], requests: SimpleQueue[_Request]) -> None:
    """Run requests for ever, several that wait for the same network as one batch."""
    waiting: list[_Request] = []
    while True:
        if not waiting:
            waiting.append(requests.get())
        with suppress(Empty):
            while True:
                waiting.append(requests.get_nowait())
        together = [request for request in waiting if request.goes_with(waiting[0])]
        waiting = [request for request in waiting if not request.goes_with(together[0])]
        _run_together(encoders, together)


def _run_together(encoders: dict[str, Any], requests: list[_Request]) -> None:
    inputs = [np.concatenate(values) for values in zip(*(r.inputs for r in requests), strict=True)]
    try:
        outputs = encoders[requests[0].name].run(*inputs)
    except Exception as error:  # goes to who asked, and is raised there
        for request in requests:
            request.output.set_exception(error)
        return
    ends = np.cumsum([len(request.inputs[0]) for request in requests])
    for request, part in zip(requests, np.split(outputs, ends[:-1]), strict=True):
        request.output.set_result(part)


def _send(connection: Connection, values: np.ndarray) -> None:
    values = np.ascontiguousarray(values)
    connection.send((values.dtype.str, values.shape))
    connection.send_bytes(values.reshape(-1).view(np.uint8).data)


def _receive(connection: Connection) -> np.ndarray:
    kind, shape = connection.recv()
    values = np.empty(shape, dtype=kind)
    connection.recv_bytes_into(values.reshape(-1).view(np.uint8))
    return values
