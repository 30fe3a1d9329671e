"""What the command line prints: one JSON document, or tables for people."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click


def print_json(document: Any) -> None:
    """One JSON document on stdout; numbers that are not finite are null."""
    click.echo(json.dumps(_finite(document), allow_nan=False, indent=2))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], always: int | None = None
) -> None:
    """A table: drawn on a terminal, tab-separated with a header line otherwise.

    On a terminal, columns after the first `always` ones (None: all) are left out, and named, where
    they do not fit.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, cells, _numeric_columns(rows), len(columns) if always is None else always)
    else:
        click.echo("\n".join("\t".join(line) for line in [columns, *cells]))


def print_note(text: str) -> None:
    """A line for people, on stderr, where it is in nobody's way."""
    click.echo(text, err=True)


def _draw(
    columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: set[int], always: int
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = max(always, _columns_that_fit(columns, cells, console.width))
    table = Table(box=SIMPLE_HEAD)
    for place, name in enumerate(columns[:shown]):
        table.add_column(name, justify="right" if place in numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row[:shown]))
    console.print(table)
    if shown < len(columns):
        print_note(f"not shown for want of width, but by --json: {', '.join(columns[shown:])}")


def _columns_that_fit(
    columns: Sequence[str], cells: Sequence[Sequence[str]], width_characters: int
) -> int:
    """How many of the first columns can be drawn side by side without a fold."""
    taken = 2  # the margins
    for place, name in enumerate(columns):
        taken += max(len(name), *(len(row[place]) for row in cells), 0) + 3
        if taken > width_characters:
            return place
    return len(columns)


def _numeric_columns(rows: Sequence[Sequence[Any]]) -> set[int]:
    kinds = (int, float, type(None))
    return {
        place
        for place, column in enumerate(zip(*rows, strict=True))
        if all(isinstance(value, kinds) for value in column)
    }


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_cell, value))
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
