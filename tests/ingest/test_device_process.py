"""One process runs the networks of all workers, and fills its batches across their items."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
import torch

from golden import save_weights
from tumorbase.ingest import device_process
from tumorbase.ingest.device_process import DeviceProcess, networks_apart
from tumorbase.ingest.item import Context, Item
from tumorbase.ingest.reading import Pending
from tumorbase.models.encoders import Runtime, build_encoder
from tumorbase.store.errors import WorkerDied

NAME = "timm-resnet10t"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Weights of a small network, on the processor."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(NAME, folder)
    return Runtime(weights=folder)


@pytest.fixture(scope="module")
def process(local: Runtime) -> Iterator[DeviceProcess]:
    with DeviceProcess([NAME], local) as process:
        yield process


def patches(count: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return list(random.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8))


def test_vectors_are_those_of_the_network_run_here(process: DeviceProcess, local: Runtime) -> None:
    remote = build_encoder(NAME, pickle.loads(pickle.dumps(process.runtime)))
    here = build_encoder(NAME, local)
    assert remote.spec == here.spec
    np.testing.assert_allclose(remote.encode(patches(5)), here.encode(patches(5)), atol=1e-5)


def test_threads_that_ask_at_once_each_get_their_own(
    process: DeviceProcess, local: Runtime
) -> None:
    remote, here = build_encoder(NAME, process.runtime), build_encoder(NAME, local)
    counts = [1, 4, 2, 7, 3, 5]
    with ThreadPoolExecutor(len(counts)) as pool:
        asked = [pool.submit(remote.encode, patches(n, seed=n)) for n in counts]
        for count, answer in zip(counts, asked, strict=True):
            expected = here.encode(patches(count, seed=count))
            np.testing.assert_allclose(answer.result(), expected, atol=1e-5)


def test_an_error_reaches_who_asked_and_the_next_question_is_answered(
    process: DeviceProcess,
) -> None:
    remote = process.runtime.remote
    assert remote
    with pytest.raises(RuntimeError):
        remote(NAME, np.zeros((2, 64, 64, 5), dtype=np.uint8))  # no three channels
    with pytest.raises(KeyError, match="unknown"):
        remote("unknown", np.zeros(1))
    assert remote(NAME, np.stack(patches(2))).shape == (2, 512)


def test_a_process_that_dies_is_told_of(local: Runtime) -> None:
    with DeviceProcess([NAME], local) as process:
        remote, pid = process.runtime.remote, process._process.pid
        assert remote
        assert pid
        remote(NAME, np.stack(patches(1)))
        os.kill(pid, signal.SIGKILL)
        process._process.join()
        with pytest.raises(WorkerDied, match="process that runs the networks died"):
            remote(NAME, np.stack(patches(1)))


def test_the_process_ends_with_its_context(local: Runtime) -> None:
    with DeviceProcess([], local) as process:
        assert process._process.is_alive()
    assert not process._process.is_alive()


def test_questions_that_wait_go_through_the_network_as_one_batch() -> None:
    asked: list[int] = []

    class Encoder:
        def run(self, values: np.ndarray) -> np.ndarray:
            asked.append(len(values))
            return 2 * values

    requests = [
        device_process._Request("a", [np.full((n, 3), n, dtype=np.float32)], Future())
        for n in (2, 1, 4)
    ]
    device_process._run_together({"a": Encoder()}, requests)
    assert asked == [7]
    for request in requests:
        np.testing.assert_array_equal(request.output.result(), 2 * request.inputs[0])
    waiting = device_process._Waiting()
    other_shape = device_process._Request("a", [np.zeros((1, 4))], Future())
    other_name = device_process._Request("b", [np.zeros((1, 3))], Future())
    for request in (requests[0], other_shape, other_name, *requests[1:]):
        waiting.put(request)
    assert [waiting.take() for _ in range(3)] == [requests, [other_shape], [other_name]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The networks of each process that is started, which is none."""
    started: list[list[str]] = []

    class Process:
        def __init__(self, names: list[str], runtime: Runtime) -> None:
            started.append(names)
            self.runtime = replace(runtime, remote=torch.nn.Identity())

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *error: object) -> None:
            started.clear()

    monkeypatch.setattr(device_process, "DeviceProcess", Process)
    return started


CUDA = Runtime("cuda")


def pending(kind: str, *encoders: str, runtime: Runtime = CUDA) -> Pending:
    """An item of this kind that these encoders have not seen."""
    return Pending(Item(kind, kind, kind, ()), "", Context(Path(), encoders, runtime))


@pytest.mark.parametrize(
    ("names", "runtime", "workers"),
    [(["radiomics"], CUDA, 4), ([NAME], CUDA, 1), ([NAME], Runtime(), 4)],
)
def test_only_workers_that_share_a_gpu_need_the_process(
    started: list[list[str]], names: list[str], runtime: Runtime, workers: int
) -> None:
    items = [pending("slide", *names, runtime=runtime)]
    with networks_apart(iter(items), names, runtime, workers) as told:
        assert list(told) == items
        assert not started


def test_the_process_starts_with_the_first_item_that_a_network_is_given(
    started: list[list[str]],
) -> None:
    tables = [pending("patients_table", NAME), pending("slide", "stain-texture")]
    slides = [pending("slide", "stain-texture", NAME), pending("slide", NAME)]
    with networks_apart(iter([*tables, *slides]), ["radiomics", NAME], CUDA, 4) as told:
        assert [next(told) for _ in tables] == tables
        assert not started
        remote = [each.context.runtime.remote for each in told]
        assert remote[0]
        assert remote == [remote[0]] * len(slides)
        assert started == [[NAME]]
    assert not started  # ended


def test_nothing_to_read_starts_no_process(started: list[list[str]]) -> None:
    with networks_apart(iter([]), [NAME], CUDA, 4) as told:
        assert list(told) == []
        assert not started


@pytest.mark.parametrize(
    "values",
    [
        np.arange(3_000_000, dtype=np.float32).reshape(3, -1),  # more than a socket takes at once
        np.arange(24).reshape(2, 3, 4).swapaxes(0, 2),
        np.ones((0, 5), dtype=bool),
        np.float32(7.0),
    ],
)
def test_arrays_of_any_size_and_layout_arrive_whole(values: np.ndarray) -> None:
    here, there = Pipe()
    with here, there, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(device_process._send, here, values)
        arrived = device_process._receive(there)
        sent.result()
    assert (arrived.dtype, arrived.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(arrived, values)


def test_half_an_array_is_the_end_of_its_worker() -> None:
    here, there = Pipe()
    with there:
        with here:
            here.send(("<f4", (3,)))
        with pytest.raises(EOFError):
            device_process._receive(there)


def test_a_batch_is_made_ready_while_another_is_computed() -> None:
    """Each of two batches begins before the other one ends."""
    both = threading.Barrier(2, timeout=60)

    class Encoder:
        def run(self, values: np.ndarray) -> np.ndarray:
            both.wait()
            return values

    waiting = device_process._Waiting()
    device_process._start_running({"a": Encoder()}, waiting)
    asked = [device_process._Request("a", [np.ones((1, n))], Future()) for n in (2, 3)]
    for request in asked:
        waiting.put(request)
    assert [request.output.result(60).shape for request in asked] == [(1, 2), (1, 3)]


def test_a_worker_ends_without_waiting_for_the_process(process: DeviceProcess) -> None:
    remote = process.runtime.remote
    assert remote
    threads = [threading.Thread(target=remote, args=(NAME, np.stack(patches(1)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
