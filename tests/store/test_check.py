"""`check` finds every kind of damage, and repair leaves a clean store that can be filled again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.store.errors import StoreDamaged
from tumorbase.store.store import Store

_spec = importlib.util.spec_from_file_location("rows", Path(__file__).with_name("test_store.py"))
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)


@pytest.fixture
def store(tmp_path: Path):
    """Two commits of two lesions each."""
    with Store.create(tmp_path / "store") as store:
        rows.put(store, "a", ["l1", "l2"])
        rows.put(store, "b", ["l3", "l4"], fill=7)
        yield store


def kinds(store: Store) -> list[str]:
    """Kinds of the problems found."""
    return [problem.kind for problem in store.check().problems]


def vector_table(store: Store):
    """The LanceDB table behind the fixture's encoder."""
    return store._tables._table("lesion", rows.ENCODER.encoder_id)


def test_a_sound_store_is_clean(store):
    assert store.check().is_clean


def test_orphan_vectors_are_found_and_deleted(store):
    table = vector_table(store)
    orphans = table.to_arrow().slice(0, 1).set_column(0, "commit_id", pa.array([77]))
    table.add(orphans)
    assert kinds(store) == ["orphan-vectors"]
    assert store.check(repair=True).is_clean
    assert kinds(store) == []
    assert rows.ids_of(store) == {"l1", "l2", "l3", "l4"}


def test_lost_vectors_withdraw_their_item_so_that_it_can_come_again(store):
    vector_table(store).delete("commit_id = 2")
    assert kinds(store) == ["missing-vectors"]
    assert store.check(repair=True).is_clean
    assert rows.ids_of(store) == {"l1", "l2"}
    assert "b" not in store.fingerprints()
    rows.put(store, "b", ["l3", "l4"], fill=7)
    assert store.check().is_clean


def test_a_changed_vector_is_found_by_its_checksum(store):
    changed = pa.array(np.full(3, 9.0, dtype="f4")).to_pylist()
    vector_table(store).update(where="lesion_id = 'l1'", values={"vector": changed})
    assert kinds(store) == ["vector-checksum"]


def test_a_lost_single_vector_is_found_by_the_count(store):
    vector_table(store).delete("lesion_id = 'l1'")
    assert kinds(store) == ["vector-count"]


def test_lost_metadata_is_found_and_withdrawn(store):
    store._connection.execute("DELETE FROM main.lesion WHERE lesion_id = 'l4'")
    assert kinds(store) == ["metadata-count"]
    assert store.check(repair=True).is_clean
    assert rows.ids_of(store) == {"l1", "l2"}


def test_withdrawing_a_replacement_brings_back_what_it_replaced(store):
    rows.put(store, "b", ["l5"], fill=2)
    vector_table(store).delete("commit_id = 3")
    assert store.check(repair=True).is_clean
    assert rows.ids_of(store) == {"l1", "l2", "l3", "l4"}


def test_one_id_in_two_items_is_reported(store):
    rows.put(store, "c", ["l1"], fill=3)
    assert kinds(store) == ["duplicate-vector"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"cut")])
def test_a_table_that_cannot_be_read_is_told_and_withdrawn(store, damage):
    store.close()
    for file in store.path.rglob("data/*.lance"):
        damage(file)
    with Store.open(store.path) as damaged:
        assert damaged.status().commit == 2
        with pytest.raises(StoreDamaged, match="check --repair"):
            rows.ids_of(damaged)
        with pytest.raises(StoreDamaged):  # its orphans, if it has any, cannot be told
            rows.put(damaged, "c", ["l5"])
        assert set(kinds(damaged)) == {"unreadable-vectors"}
        assert damaged.check(repair=True).is_clean
        rows.put(damaged, "a", ["l1", "l2"])
        assert damaged.check().is_clean
        assert rows.ids_of(damaged) == {"l1", "l2"}
