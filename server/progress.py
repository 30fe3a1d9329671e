"""How far an ingest is: a bar on a terminal, a line now and then otherwise; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tumorbase.ingest.pipeline import Progress

_SECONDS_A_LINE = 5.0


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """A function that shows each progress it is given."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


class _Lines:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_A_LINE or progress.state == "quarantined":
            self._last = now
            line = f"{progress.done}/{progress.total} {progress.state} {progress.path}"
            click.echo(line, err=True)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("planning", total=None)

        def show(progress: Progress) -> None:
            description = progress.path.rsplit("/", 1)[-1]
            bar.update(task, completed=progress.done, total=progress.total, description=description)

        yield show
