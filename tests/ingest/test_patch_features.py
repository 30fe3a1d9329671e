"""Features of CLAM and TRIDENT stream into rows; bad files leave nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch

from tumorbase.ingest import patch_features
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.patch_features import plan_patch_features, read_patch_features
from tumorbase.store.errors import BadInput

TRIDENT = {"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20}
CLAM = {"patch_size": 256, "patch_level": 1, "downsample": np.array([4.0, 4.0])}


def features(rows: int = 5, dim: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)


def corners(rows: int = 5) -> np.ndarray:
    return np.stack([np.arange(rows) * 512, np.arange(rows) * 512 + 1024], axis=1)


def write_h5(path: Path, values: np.ndarray, coords: np.ndarray, **attributes: object) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with h5py.File(path, "w") as file:
        file["features"] = values
        file["coords"] = coords
        file["coords"].attrs.update(attributes)
    return path


def item_of(path: Path) -> Item:
    (item,) = plan_patch_features([path], lambda name: name.partition(".")[0]).items
    return item


def read(path: Path, staging: Path) -> ItemRows:
    staging.mkdir()
    return read_patch_features(item_of(path), Context(staging))


def table_of(rows: ItemRows, level: str = "patch") -> pa.Table:
    (staged,) = [vectors for vectors in rows.vectors if vectors.spec.level == level]
    return pa.ipc.open_stream(staged.path).read_all()


@pytest.mark.parametrize(
    ("attributes", "side", "mpp"), [(TRIDENT, 512, 0.5), (CLAM, 1024, None), ({}, None, None)]
)
def test_features_come_with_their_places(
    tmp_path: Path, attributes: dict, side: int | None, mpp: float | None
) -> None:
    path = write_h5(tmp_path / "uni" / "S1.h5", features(), corners(), **attributes)
    rows = read(path, tmp_path / "staging")
    table = table_of(rows)
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), features())
    first = table.to_pylist()[1]
    assert first["patch_id"] == "S1/512_1536"
    assert (first["slide_id"], first["patient_id"]) == ("S1", "S1")
    assert (first["x_level0_px"], first["y_level0_px"]) == (512, 1536)
    assert (first["side_level0_px"], first["mpp"], first["tissue_fraction"]) == (side, mpp, None)
    assert rows.tables["slide"].to_pylist()[0]["path"] is None
    (spec,) = [vectors.spec for vectors in rows.vectors if vectors.spec.level == "patch"]
    assert (spec.name, spec.dim, spec.is_standardised) == ("features-uni", 8, False)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_leading_axis_and_any_float_are_read(tmp_path: Path, dtype: type) -> None:
    values = features()[None].astype(dtype)
    path = write_h5(tmp_path / "uni" / "S1.h5", values, corners()[None])
    table = table_of(read(path, tmp_path / "staging"))
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), values[0].astype("f4"))


def test_rows_stream_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_features, "CHUNK_ROWS", 7)
    path = write_h5(tmp_path / "uni" / "S1.h5", features(40), corners(40))
    rows = read(path, tmp_path / "staging")
    table = table_of(rows)
    assert table["vector"].num_chunks == 6
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), features(40))
    (pooled,) = table_of(rows, "slide")["vector"].to_pylist()
    expected = np.concatenate([features(40).mean(axis=0), features(40).std(axis=0)])
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_has_patches_by_index(tmp_path: Path, zipped: bool) -> None:
    (tmp_path / "uni").mkdir()
    path = tmp_path / "uni" / "S1.pt"
    torch.save(torch.from_numpy(features()).half(), path, _use_new_zipfile_serialization=zipped)
    table = table_of(read(path, tmp_path / "staging"))
    assert table["patch_id"].to_pylist() == [f"S1/{i}" for i in range(5)]
    assert table["x_level0_px"].null_count == 5
    np.testing.assert_allclose(np.stack(table["vector"].to_pylist()), features(), atol=2e-3)


def test_no_patches_are_a_slide_without_vectors(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "uni" / "S1.h5", features(0), corners(0))
    rows = read(path, tmp_path / "staging")
    assert [vectors.rows for vectors in rows.vectors] == [0]
    assert rows.tables["slide"].num_rows == 1


def _bad(name: str, path: Path) -> None:
    values, coords = features(), corners()
    if name == "nan":
        values[3, 2] = np.nan
    elif name == "overflow":
        values = values.astype(np.float64)
        values[3, 2] = 1e300
    elif name == "fewer coords":
        coords = coords[:4]
    elif name == "3-d coords":
        coords = np.zeros((5, 3))
    elif name == "integer features":
        values = values.astype(np.int32)
    elif name == "flat":
        values = values[0]
    elif name == "twice":
        coords[1] = coords[3]
    elif name == "half pixels":
        coords = coords + 0.5
    write_h5(path, values, coords)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nan", "NaN or infinity in row 3"),
        ("overflow", "NaN or infinity in row 3"),
        ("fewer coords", r"shape \(5, 2\) for 5 features, got \(4, 2\)"),
        ("3-d coords", r"shape \(5, 2\) for 5 features, got \(5, 3\)"),
        ("integer features", "floating point, got int32"),
        ("flat", "must have shape"),
        ("twice", "1536_2560 twice"),
        ("half pixels", "whole pixels"),
    ],
)
def test_bad_features_leave_nothing(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / "uni" / "S1.h5"
    _bad(name, path)
    with pytest.raises(BadInput, match=reason):
        read(path, tmp_path / "staging")
    assert not list((tmp_path / "staging").iterdir())


def test_files_that_are_none_say_so(tmp_path: Path) -> None:
    text, empty = tmp_path / "a.h5", tmp_path / "b.h5"
    text.write_text("no features")
    empty.touch()
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["feats"] = features()
    for path, reason in [
        (text, "not an HDF5 file"),
        (empty, "0 bytes"),
        (tmp_path / "c.h5", "datasets features and coords, got feats"),
    ]:
        with pytest.raises(BadInput, match=reason):
            read_patch_features(item_of(path), Context(tmp_path))


class _Harmful:
    """What a pickle could run when loaded."""

    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("content", [_Harmful(), {"features": 1}, b"text"])
def test_a_pt_file_is_a_tensor_and_nothing_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object
) -> None:
    path = tmp_path / "S1.pt"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    if isinstance(content, dict):
        torch.save(content, path)
    with pytest.raises(BadInput, match=r"not a tensor|expected one floating point tensor"):
        read_patch_features(item_of(path), Context(tmp_path))
    assert capsys.readouterr().out == ""


def test_a_slide_of_two_sets_is_two_items_and_of_two_files_one(tmp_path: Path) -> None:
    for name in ("uni/h5_files/S1.h5", "features_conch/S1.h5"):
        write_h5(tmp_path / name, features(), corners())
    (tmp_path / "uni" / "pt_files").mkdir()
    for slide in ("S1", "S2"):
        torch.save(torch.zeros(2, 8), tmp_path / "uni" / "pt_files" / f"{slide}.pt")
    items = plan_patch_features([tmp_path], lambda name: name).items
    assert [(item.key, Path(item.path).suffix) for item in items] == [
        ("features:S1/features_conch", ".h5"),
        ("features:S1/features-uni", ".h5"),
        ("features:S2/features-uni", ".pt"),
    ]


def test_sets_of_different_dimension_are_different_encoders() -> None:
    first, second = (patch_features.features_spec("features-uni", dim) for dim in (8, 16))
    assert first.encoder_id != second.encoder_id
