"""The demo: make a phantom cohort, ingest it, serve it, ask it everything, and write the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.query.risk_groups import risk_groups
from tumorbase.query.survival_model import read_model
from tumorbase.server.client import Client
from tumorbase.server.demo.page import Demo, render_page
from tumorbase.server.demo.phantom_cohort import write_phantom_cohort
from tumorbase.server.demo.questions import MODEL, ask_all
from tumorbase.server.progress import show_progress
from tumorbase.store.errors import InvalidRequest, Unavailable
from tumorbase.store.store import Store

T = TypeVar("T")

_SERVER = (sys.executable, "-m", "tumorbase.server.cli", "serve", "--port", "0", "--store")
_MARKER = ".tumorbase-demo"  # in a folder whose content the demo may replace
_READY = re.compile(r"on 127\.0\.0\.1:(\d+)")


def run_demo(folder: Path, seed: int = 0, patients: int = 24) -> Path:
    """Write cohort, store, truth and page into `folder`, and return the page's path.

    What an earlier demo left there is replaced. Progress goes to stderr.

    Raises:
        InvalidRequest: the folder has a cohort or a store that no demo made.
        Unavailable: the server does not start.
    """
    steps = _Steps()
    cohort, store_folder = folder / "cohort", folder / "store"
    _clear(folder, cohort, store_folder)
    truth = steps.take(
        f"Make a phantom cohort of {patients} patients",
        lambda: write_phantom_cohort(cohort, seed, patients),
    )
    truth.write(folder / "truth.json")
    summary = steps.take("Ingest it", lambda: _ingest(cohort, store_folder))
    with _serve(store_folder, steps) as address, Client(address) as client:
        answers = steps.take("Ask all five kinds of question", lambda: ask_all(client, seed))
    with Store.open(store_folder) as store:
        groups = risk_groups(store.view(), MODEL)
        held_out = read_model(store.view(), MODEL).held_out
    page = folder / "index.html"
    demo = Demo(cohort, truth, summary, answers, groups, held_out, steps.seconds)
    started = time.perf_counter()
    html = render_page(demo)
    page.write_text(html, encoding="utf-8")
    _say(f"Write the page: {time.perf_counter() - started:.1f} s")
    return page


def _clear(folder: Path, *parts: Path) -> None:
    """Remove the parts, if a demo made them, and mark the folder as the demo's."""
    marker = folder / _MARKER
    if any(part.exists() for part in parts) and not marker.exists():
        names = " or ".join(part.name for part in parts)
        raise InvalidRequest(f"{folder} has a {names} that no demo made; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)


@dataclass
class _Steps:
    """What was done, and how long each step took."""

    seconds: dict[str, float] = field(default_factory=dict)

    def take(self, name: str, step: Callable[[], T]) -> T:
        """Do it, tell stderr, and note its time."""
        _say(f"{name} ...")
        started = time.perf_counter()
        done = step()
        self.seconds[name] = time.perf_counter() - started
        _say(f"{name}: {self.seconds[name]:.1f} s")
        return done


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ingest(cohort: Path, store_folder: Path) -> IngestSummary:
    with Store.create(store_folder) as store, show_progress() as progress:
        return ingest(store, [cohort], IngestOptions(), progress)


@contextmanager
def _serve(store_folder: Path, steps: _Steps) -> Iterator[str]:
    """The address of a server of the store, which is told to stop at the end."""
    server = subprocess.Popen(
        [*_SERVER, str(store_folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield steps.take("Serve it", lambda: _address(server))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def _address(server: subprocess.Popen[str]) -> str:
    """What the server's one line says; it comes when the server is ready."""
    assert server.stdout is not None
    line = server.stdout.readline()
    found = _READY.search(line)
    if found is None:
        raise Unavailable(f"the demo's server did not start: {line.strip() or 'it ended'}")
    return f"127.0.0.1:{found.group(1)}"
