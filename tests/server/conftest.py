"""A tiny cohort, its store, and a server in a thread."""

from __future__ import annotations

import asyncio
import csv
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tumorbase.ingest.pipeline import IngestOptions
from tumorbase.server.config import ServerConfig
from tumorbase.server.local import LocalClient
from tumorbase.server.serve import running_server
from tumorbase.store.store import Store

PATIENTS = [f"P{number:02}" for number in range(40)]


def _write(file: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([columns, *rows])


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty patients with age, outcome and diagnosis; two studies each with the same two lesions.

    The larger the lesions of a patient, the sooner the event.
    """
    folder = tmp_path_factory.mktemp("tiny") / "cohort"
    folder.mkdir()
    ages = [[patient, 40 + index] for index, patient in enumerate(PATIENTS)]
    _write(folder / "patients.csv", ["patient_id", "age"], ages)
    outcomes = [[p, "OS", 900 - 20 * i, int(i % 3 > 0)] for i, p in enumerate(PATIENTS)]
    _write(folder / "outcomes.csv", ["patient_id", "endpoint", "time_days", "event"], outcomes)
    codes = [[p, ["C34.1", "C50.9"][i // 20], "2020-01-01"] for i, p in enumerate(PATIENTS)]
    _write(folder / "diagnoses.csv", ["patient_id", "icd10cm", "date"], codes)
    lesions = [
        [f"{p}-{s}-{k}", p, f"{p}-S{s}", f"202{s}-03-01", 90 * k, 5, 20, 12 + i + s, 6 + i / 2 + k]
        for i, p in enumerate(PATIENTS)
        for s in (0, 1)
        for k in (0, 1)
    ]
    columns = "lesion_id patient_id study_id study_date x_mm y_mm z_mm long_axis_mm short_axis_mm"
    _write(folder / "lesions.csv", columns.split(), lesions)
    return folder


@pytest.fixture(scope="session")
def ingested(cohort: Path) -> Path:
    """The cohort's store, to be copied and not opened."""
    path = cohort.parent / "store"
    with LocalClient(Store.create(path)) as client:
        summary = client.ingest([cohort], IngestOptions(workers=1))
    assert summary.quarantined == ()
    return path


@pytest.fixture
def store_path(ingested: Path, tmp_path: Path) -> Path:
    """A store of the cohort that the test may change."""
    return shutil.copytree(ingested, tmp_path / "store")


@pytest.fixture
def local(store_path: Path) -> Iterator[LocalClient]:
    """The open store."""
    with LocalClient.open(store_path) as client:
        yield client


@contextmanager
def serving(local: LocalClient, **settings: object) -> Iterator[str]:
    """The address of a server that answers from `local` in another thread."""
    config = ServerConfig(Path(), port=0, grace_seconds=5, **settings)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    ready, port, stop = threading.Event(), [0], asyncio.Event()
    failure: list[BaseException] = []

    async def serve() -> None:
        async with running_server(config, local) as port[0]:
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            failure.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    try:
        if not failure:
            yield f"{config.host}:{port[0]}"
            loop.call_soon_threadsafe(stop.set)
    finally:
        if thread.is_alive() and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)
    if failure:
        raise failure[0]


@pytest.fixture
def serve() -> Callable[..., object]:
    """`serving`, the context manager of a server in a thread."""
    return serving


@pytest.fixture
def address(local: LocalClient) -> Iterator[str]:
    """Where the store is served."""
    with serving(local) as address:
        yield address
