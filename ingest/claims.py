"""Which item brought what: no two items of a store share a lesion or a profile, nor a table's name.

Ids of lesions are the source's own (lesions.csv, pyradiomics), so two sources can give one twice.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from tumorbase.store.errors import BadInput

CLAIMED = {"lesion": "lesion_id", "profile": "profile_id"}  # table -> its ids


class Claims:
    """What the items of a store, and of a run so far, hold."""

    def __init__(self, paths: dict[str, str], owners: dict[str, dict[str, str]]) -> None:
        """`paths` are those of the store's items by key, `owners` the item keys by table and id."""
        self.paths = paths
        self.owners = owners
        self._ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for table, keys in owners.items():
            for one, key in keys.items():
                self._ids[table, key].append(one)

    def claim(self, key: str, path: str, tables: Mapping[str, pa.Table]) -> None:
        """Note what the item `key` of the file `path` brings now; what it held before is free.

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
            for one in self._ids.pop((table, key), ()):
                owners.pop(one, None)
            owners.update(dict.fromkeys(ids, key))
            self._ids[table, key] = ids


def _is_another_file(before: str, path: str) -> bool:
    return Path(before).exists() and not os.path.samefile(before, path)
