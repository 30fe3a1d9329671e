"""Imports point one way: server -> query, ingest -> store, models, which import nothing of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "models": {"models"},
    "store": {"store"},
    "ingest": {"ingest", "store", "models"},
    "query": {"query", "store", "models"},
    "server": {"server", "query", "ingest", "store", "models", "v1"},
}
# What only one layer may touch: the databases, and the wire.
ONLY_IN = {"lancedb": {"store"}, "duckdb": {"store", "query"}, "grpc": {"server"}}


def _modules(layer: str) -> list[Path]:
    files = [*(ROOT / layer).rglob("*.py"), *(ROOT / layer).rglob("*.pyx")]
    return [file for file in files if "pb" not in file.relative_to(ROOT).parts]


def _imported(file: Path) -> Iterator[str]:
    """Every module that the file imports, inside functions too; relative imports are refused."""
    if file.suffix == ".pyx":
        lines = [line.split() for line in file.read_text().splitlines()]
        yield from (words[1] for words in lines if words[:1] in (["import"], ["from"], ["cimport"]))
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: import by the full name"
            yield str(node.module)
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_down(layer: str) -> None:
    assert _modules(layer)
    upwards = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file in _modules(layer)
        for module in _imported(file)
        if module.startswith("tumorbase.") and module.split(".")[1] not in MAY_IMPORT[layer]
    }
    assert not upwards


@pytest.mark.parametrize("library", ONLY_IN)
def test_databases_and_wire_stay_in_their_layers(library: str) -> None:
    elsewhere = {
        f"{file.relative_to(ROOT)} imports {module}"
        for layer in set(MAY_IMPORT) - ONLY_IN[library]
        for file in _modules(layer)
        for module in _imported(file)
        if module.split(".")[0] == library
    }
    assert not elsewhere
