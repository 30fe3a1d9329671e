"""The names that users import from Python, as README and design promise them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tumorbase import store
from tumorbase.models.nucleus_shape import measure_nuclei
from tumorbase.server.client import Client
from tumorbase.store import Store
from tumorbase.store.errors import NoStore

SHAPE = [
    "area",
    "area_bbox",
    "area_convex",
    "eccentricity",
    "equivalent_diameter_area",
    "euler_number",
    "extent",
    "feret_diameter_max",
    "area_filled",
    "inertia_tensor_eigvals-0",
    "inertia_tensor_eigvals-1",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "perimeter",
    "solidity",
]


def test_a_store_is_created_and_opened_by_its_package(tmp_path: Path) -> None:
    with Store.create(tmp_path / "store") as made:
        assert made.last_commit() == 0
    with Store.open(str(tmp_path / "store")) as opened:
        assert opened.view().sql("SELECT count(*) n FROM patient")["n"].to_pylist() == [0]
    with pytest.raises(NoStore):
        Store.open(tmp_path / "nothing")


def test_the_store_package_has_no_other_name_at_its_top() -> None:
    with pytest.raises(AttributeError, match="Shop"):
        store.Shop  # noqa: B018 - reading it is the test


def test_the_store_package_imports_no_database_until_asked() -> None:
    code = "import sys, tumorbase.store.errors; sys.exit('duckdb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_client_takes_an_address_alone() -> None:
    address, *others = inspect.signature(Client).parameters.values()
    assert address.name == "address"
    assert all(other.default is not inspect.Parameter.empty for other in others)
    with Client("127.0.0.1:1"):
        pass  # it connects when it is first asked


def test_measure_nuclei_names_its_columns_as_scikit_image_does() -> None:
    labels = np.zeros((12, 12), dtype=np.int32)
    labels[2:6, 3:9] = 7
    assert set(measure_nuclei(labels).column_names) == {"label", *SHAPE}
    assert measure_nuclei(labels)["label"].to_pylist() == [7]
