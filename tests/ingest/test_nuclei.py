"""Nuclei of HoVer-Net and CellViT are imported with their shapes; bad files say why."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.nuclei import _read, plan_nuclei, read_nuclei
from tumorbase.ingest.nucleus_rows import Contours, measured_contours
from tumorbase.models.nucleus_shape import FEATURES, measure
from tumorbase.store.errors import BadInput

SQUARE = [[10, 20], [14, 20], [14, 22], [10, 22]]  # 5 x 3 pixels, borders included
# Clockwise from the left (y down), the neighbours of a pixel as (dy, dx).
AROUND = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))


def trace(mask: np.ndarray) -> list[list[int]]:
    """The outer border of a mask's one piece, (x, y) of each border pixel, by Moore's neighbours;
    what OpenCV's findContours returns without its approximation.
    """
    padded = np.pad(mask, 1)
    start = tuple(int(i) for i in np.argwhere(padded)[0])
    at, back = start, 0
    contour = [start]
    while True:
        turns = [(back + turn) % 8 for turn in range(8)]
        steps = [(d, at[0] + AROUND[d][0], at[1] + AROUND[d][1]) for d in turns]
        found = next(((d, y, x) for d, y, x in steps if padded[y, x]), None)
        if found is None:
            break
        back, at = (found[0] + 5) % 8, (found[1], found[2])
        if at == start and len(contour) > 1:
            break
        contour.append(at)
    return [[x - 1, y - 1] for y, x in contour]


def hovernet(path: Path, nuclei: dict[str, Any], mag: float | None = 40) -> Path:
    path.write_text(json.dumps({"mag": mag, "nuc": nuclei}))
    return path


def nucleus(contour: Any, kind: int | None = 1, probability: float | None = 0.9) -> dict[str, Any]:
    return {
        "bbox": [[0, 0], [1, 1]],
        "centroid": [0, 0],
        "contour": contour,
        "type_prob": probability,
        "type": kind,
    }


def item_of(path: Path) -> Item:
    (item,) = plan_nuclei([path], lambda name: name.partition(".")[0]).items
    return item


def table_of(rows: ItemRows) -> pa.Table:
    (staged,) = rows.vectors
    table = pa.ipc.open_stream(staged.path).read_all()
    assert table.num_rows == staged.rows
    return table.sort_by("nucleus_id") if table.num_rows else table


def test_hovernet_nuclei_have_place_type_and_shape(tmp_path: Path) -> None:
    path = hovernet(tmp_path / "S1.json", {"7": nucleus(SQUARE, 3, 0.75)}, mag=20)
    rows = read_nuclei(item_of(path), Context(tmp_path))
    (row,) = table_of(rows).to_pylist()
    assert row["nucleus_id"] == "S1/7"
    assert (row["slide_id"], row["patient_id"]) == ("S1", "S1")
    assert (row["x_level0_px"], row["y_level0_px"]) == (12.0, 21.0)
    assert (row["type"], row["type_probability"], row["mpp"]) == ("3", 0.75, 0.5)
    assert (row["area"], row["area_bbox"], row["euler_number"]) == (15, 15, 1)
    assert rows.tables["slide"].to_pylist()[0]["path"] is None


def test_cellvit_nuclei_have_the_names_of_their_types(tmp_path: Path) -> None:
    content = {
        "wsi_metadata": {"base_mpp": 0.2, "downsampling": 2, "magnification": 40},
        "type_map": {"0": "Background", "1": "Neoplastic"},
        "cells": [nucleus([[float(x), float(y)] for x, y in SQUARE], 1), nucleus(SQUARE, 4)],
    }
    path = tmp_path / "S2.json"
    path.write_text(json.dumps(content))
    table = table_of(read_nuclei(item_of(path), Context(tmp_path)))
    assert table["nucleus_id"].to_pylist() == ["S2/0", "S2/1"]
    assert table["type"].to_pylist() == ["Neoplastic", "4"]
    assert table["mpp"].to_pylist() == pytest.approx([0.4, 0.4])


def test_contours_of_real_nuclei_give_their_shapes(shared: Path, tmp_path: Path) -> None:
    """A contour has no holes and one piece: nuclei of the label map that are so come back whole."""
    folder = shared / "data/pathology/nuclei_consep"
    labels = np.load(folder / "test_1_000_inst.npz")["inst_map"]
    shapes = measure(labels)
    euler = shapes.features[FEATURES.index("euler_number")]
    whole = [i for i in np.flatnonzero(euler == 1) if shapes.features[0, i] > 3]
    assert len(whole) > 70
    nuclei = {f"{shapes.label[i]:04}": nucleus(trace(labels == shapes.label[i])) for i in whole}
    path = hovernet(tmp_path / "S1.json", nuclei)
    table = table_of(read_nuclei(item_of(path), Context(tmp_path)))
    np.testing.assert_allclose(table["x_level0_px"], shapes.centroid[whole, 1])
    np.testing.assert_allclose(table["y_level0_px"], shapes.centroid[whole, 0])
    for position, name in enumerate(FEATURES):
        np.testing.assert_allclose(table[name], shapes.features[position, whole], atol=1e-9)


def test_a_contour_of_opencv_fills_to_its_instance(shared: Path) -> None:
    golden = np.load(shared / "reference/hovernet/golden.npz")
    contour, inst_map = golden["post_a/info_contour0"], golden["post_a/inst_map"]
    inst = inst_map == golden["post_a/info_id"][0]
    contours = Contours(contour.astype(float), np.array([len(contour)]))
    ((_, shapes),) = measured_contours(contours)
    assert shapes.features[0, 0] == inst.sum()
    np.testing.assert_allclose(shapes.centroid[0], np.argwhere(inst).mean(axis=0))


def test_many_contours_are_measured_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    polygons = []
    for count in rng.integers(3, 25, 300):
        angle = np.sort(rng.uniform(0, 2 * np.pi, count))
        radius = rng.uniform(2, 20, count)
        edge = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        polygons.append(np.rint(rng.uniform(-50, 5000, 2) + edge))
    lengths = np.array([len(polygon) for polygon in polygons])
    together = np.zeros((300, 3))
    monkeypatch.setattr("tumorbase.ingest.nucleus_rows.CANVAS_PX", 20_000)
    parts = list(measured_contours(Contours(np.concatenate(polygons), lengths)))
    assert len(parts) > 5
    for index, shapes in parts:
        together[index] = np.column_stack([shapes.features[0], shapes.centroid])
    for polygon, expected in zip(polygons, together, strict=True):
        ((_, alone),) = measured_contours(Contours(polygon, np.array([len(polygon)])))
        np.testing.assert_allclose([alone.features[0, 0], *alone.centroid[0]], expected)


def test_a_wide_contour_among_small_ones_needs_no_more_memory() -> None:
    small, wide = (
        np.array([[0.0, 0], [9, 0], [9, 9], [0, 9]]),
        np.array([[0.0, 0], [1999, 0], [0, 9]]),
    )
    peaks = []
    for contours in ([small] * 3000, [small] * 3000 + [wide]):
        together = Contours(np.concatenate(contours), np.array([len(c) for c in contours]))
        tracemalloc.start()
        parts = list(measured_contours(together))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sum(len(index) for index, _ in parts) == len(contours)
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("mag", "given", "stated"), [(40, 0.5, 0.25), (None, 0.5, 0.5), (None, None, None)]
)
def test_the_files_own_magnification_comes_first(
    tmp_path: Path, mag: float | None, given: float | None, stated: float | None
) -> None:
    path = hovernet(tmp_path / "S1.json", {"1": nucleus(SQUARE)}, mag)
    (row,) = table_of(read_nuclei(item_of(path), Context(tmp_path, mpp=given))).to_pylist()
    assert row["mpp"] == stated
    assert row["vector"][0] == pytest.approx(np.log1p(15 * (stated or 0.25) ** 2))


def test_a_file_without_nuclei_has_no_rows(tmp_path: Path) -> None:
    rows = read_nuclei(item_of(hovernet(tmp_path / "S1.json", {})), Context(tmp_path))
    assert rows.vectors[0].rows == 0
    assert rows.tables["slide"].num_rows == 1


def test_nuclei_without_type_have_none(tmp_path: Path) -> None:
    path = hovernet(tmp_path / "S1.json", {"1": nucleus(SQUARE, None, None)})
    (row,) = table_of(read_nuclei(item_of(path), Context(tmp_path))).to_pylist()
    assert row["type"] is row["type_probability"] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ('{"nuc": {', "not JSON"),
        ("[1, 2]", "expected HoVer-Net"),
        ('{"nuc": [1]}', "expected HoVer-Net"),
        ('{"cells": [{"centroid": [1, 2], "type": 1}]}', "nucleus 0: expected .* contour"),
        ('{"nuc": {"1": {"contour": [[1, 2], [3, 4]]}}}', "nucleus 1: .*three points"),
        ('{"nuc": {"1": {"contour": [[1, 2, 3], [3, 4, 5], [5, 6, 7]]}}}', "1: .*two numbers"),
        ('{"nuc": {"1": {"contour": [[1, 2], [3, "x"], [5, 6]]}}}', "1: .*two numbers"),
        ('{"nuc": {"1": {"contour": [[1, 2], [3, NaN], [5, 6]]}}}', "finite"),
        ('{"nuc": {"1": {"contour": [[0, 0], [9999, 0], [0, 5]]}}}', "at most 2000 pixels"),
        ('{"mag": 0, "nuc": {}}', "mag must be a positive"),
        ('{"mag": "x", "nuc": {}}', "mag must be a positive"),
        ('{"wsi_metadata": {"base_mpp": -1}, "cells": []}', "base_mpp must be a positive"),
    ],
)
def test_bad_files_say_why(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "S1.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=reason):
        read_nuclei(item_of(path), Context(tmp_path))
    assert list(tmp_path.iterdir()) == [path]


def test_the_nuclei_of_a_slide_are_read_in_less_than_three_times_their_file(tmp_path: Path) -> None:
    outline = [[50_000 + 3 * x, 60_000 + x] for x in range(30)]
    path = hovernet(tmp_path / "S1.json", {str(i): nucleus(outline) for i in range(2000)})
    tracemalloc.start()
    _read(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * path.stat().st_size


@pytest.mark.parametrize("probability", [1.5, "x", -0.1])
def test_a_type_probability_outside_of_0_to_1_is_refused(tmp_path: Path, probability: Any) -> None:
    path = hovernet(tmp_path / "S1.json", {"5": nucleus(SQUARE, 1, probability)})
    with pytest.raises(BadInput, match=r"nucleus 5.*type_prob"):
        read_nuclei(item_of(path), Context(tmp_path))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "S1.json"
    path.write_bytes(b'{"nuc": "\xff\xfe"}')
    with pytest.raises(BadInput, match="not JSON"):
        read_nuclei(item_of(path), Context(tmp_path))
