"""Which item brought what: no two items of a store share a lesion or a profile, nor a table's name.

Ids of lesions are the source's own (lesions.csv, pyradiomics), so two sources can give one twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tumorbase.store.errors import BadInput

CLAIMED = {"lesion": "lesion_id", "profile": "profile_id"}  # table -> its ids


@dataclass(frozen=True)
class Claims:
    """`paths` are those of the store's items by key, `owners` the item keys by table and id."""

    paths: dict[str, str]
    owners: dict[str, dict[str, str]]

    def claim(self, key: str, path: str, tables: Mapping[str, pa.Table]) -> None:
        """Note what the item `key` of the file `path` brings.

        Raises:
            BadInput: another item has brought one of its ids; or it is a table, and one of the same
                folder and name was read from elsewhere and is still there: to take its place, as a
                moved file does, would lose the other's rows.
        """
        before = self.paths.get(key, "")
        if key.startswith("table:") and before and _is_another_file(before, path):
            reason = f"another {key.removeprefix('table:')} is in the store, from {before}"
            raise BadInput(path, f"{reason}: give this folder another name")
        for table, column in CLAIMED.items():
            ids = tables[table][column].to_pylist() if table in tables else []
            owners = self.owners[table]
            taken = next((one for one in ids if owners.get(one, key) != key), None)
            if taken is not None:
                raise BadInput(path, f"{column} {taken!r} is in the store, from {owners[taken]}")
            owners.update(dict.fromkeys(ids, key))


def _is_another_file(before: str, path: str) -> bool:
    return Path(before).exists() and not os.path.samefile(before, path)
