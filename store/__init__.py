"""Tables, schemas, versions and errors; DuckDB and LanceDB live here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tumorbase.store.store import Store

__all__ = ["Store"]


def __getattr__(name: str) -> type[Store]:
    """`Store`, imported when first asked for: the databases take seconds to import."""
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tumorbase.store.store import Store

    return Store
