"""One process has the GPU: it runs the networks for all reading workers, and fills its batches from
whatever they are reading, across the borders of items.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection, Listener
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorbase.ingest.encodings import is_given_to
from tumorbase.ingest.worker import die_with_parent
from tumorbase.models.encoders import Runtime, is_network
from tumorbase.models.once import Answers, found_so_far, remember
from tumorbase.store.errors import WorkerDied

if TYPE_CHECKING:
    from tumorbase.ingest.reading import Pending

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
def networks_apart(
    pending: Iterator[Pending], names: Sequence[str], runtime: Runtime, workers: int
) -> Iterator[Iterator[Pending]]:
    """The items, whose readers are told to run the networks among the encoders `names` in a process
    of their own where several workers would share a GPU, and else as `runtime` says. The process
    starts before the first item that is given to a network.
    """
    networks = list(filter(is_network, names))
    if runtime.device != "cuda" or workers == 1 or not networks:
        yield pending
        return
    with ExitStack() as running:
        yield _sharing(pending, networks, runtime, running)


def _sharing(
    pending: Iterator[Pending], networks: list[str], runtime: Runtime, running: ExitStack
) -> Iterator[Pending]:
    for each in pending:
        if runtime.remote is None and _is_for_a_network(each):
            runtime = running.enter_context(DeviceProcess(networks, runtime)).runtime
        yield replace(each, context=replace(each.context, runtime=runtime))


def _is_for_a_network(pending: Pending) -> bool:
    kind = pending.item.kind
    return any(is_network(name) and is_given_to(name, kind) for name in pending.context.encoders)


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


class _Waiting:
    """Requests of all workers that no thread runs yet."""

    def __init__(self) -> None:
        self._requests: list[_Request] = []
        self._change = threading.Condition()

    def put(self, request: _Request) -> None:
        with self._change:
            self._requests.append(request)
            self._change.notify()

    def take(self) -> list[_Request]:
        """The one that waits longest, as soon as there is one, and all that go with it."""
        with self._change:
            self._change.wait_for(lambda: self._requests)
            first = self._requests[0]
            together = [request for request in self._requests if request.goes_with(first)]
            self._requests = [r for r in self._requests if not r.goes_with(first)]
            return together


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
    waiting = _Waiting()
    with Listener(family="AF_UNIX", backlog=_BACKLOG, authkey=key) as listener:
        _start_running(encoders, waiting)
        ready.send(listener.address)
        _accept(listener, waiting)


def _accept(listener: Listener, waiting: _Waiting) -> None:
    """Serve every thread of a worker that connects, for ever."""
    while True:
        answer = (listener.accept(), waiting)
        threading.Thread(target=_answer, args=answer, daemon=True).start()


def _answer(connection: Connection, waiting: _Waiting) -> None:
    """Take in the requests of one worker's thread, and send back what came of them."""
    with suppress(EOFError, ConnectionError):  # the worker is done
        while True:
            name, count = connection.recv()
            inputs = [_receive(connection) for _ in range(count)]
            request = _Request(name, inputs, Future())
            waiting.put(request)
            failure = request.output.exception()
            connection.send(failure)
            if failure is None:
                _send(connection, request.output.result())


def _start_running(encoders: dict[str, Any], waiting: _Waiting) -> None:
    """Begin to run what waits: while the GPU computes for one thread, another one makes the next
    batch ready.
    """
    from tumorbase.models.inference import STREAMS

    for _ in range(STREAMS):
        threading.Thread(target=_run, args=(encoders, waiting), daemon=True).start()


def _run(encoders: dict[str, Any], waiting: _Waiting) -> None:
    while True:
        _run_together(encoders, waiting.take())


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
    connection.send((values.dtype.str, values.shape))
    unsent = _bytes(np.ascontiguousarray(values))
    while unsent:
        unsent = unsent[os.write(connection.fileno(), unsent) :]


def _receive(connection: Connection) -> np.ndarray:
    kind, shape = connection.recv()
    values = np.empty(shape, dtype=kind)
    missing = _bytes(values)
    # Straight into place: `recv_bytes_into` copies twice, and other threads wait meanwhile.
    while missing:
        count = os.readv(connection.fileno(), [missing])
        if count == 0:
            raise EOFError
        missing = missing[count:]
    return values


def _bytes(values: np.ndarray) -> memoryview:
    return values.reshape(-1).view(np.uint8).data
