"""measure_nuclei against scikit-image's regionprops_table, the definition of its features."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import ellipse
from skimage.io import imread
from skimage.measure import regionprops_table

from tumorbase.models.encoders import build_encoder
from tumorbase.models.nucleus_shape import (
    FEATURES,
    NucleusShape,
    feature_matrix,
    in_micrometres,
    measure,
    measure_nuclei,
    nucleus_centroids,
)

PROPERTIES = (
    "label",
    *dict.fromkeys(name.removesuffix("-0").removesuffix("-1") for name in FEATURES),
)


def assert_equals_regionprops(labels: np.ndarray, atol: float = 0.0) -> None:
    expected = regionprops_table(labels, properties=PROPERTIES)
    table = measure_nuclei(labels)
    assert table.column_names == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(
            table[name].to_numpy(), values, rtol=1e-6, atol=atol, err_msg=name
        )


def real_label_maps(shared: Path) -> dict[str, np.ndarray]:
    pathology = shared / "data" / "pathology"
    maps = {p.name: imread(p) for p in sorted(pathology.glob("nuclei_dsb2018/*_labels.png"))}
    for path in sorted(pathology.glob("nuclei_consep/*_inst.npz")):
        with np.load(path) as arrays:
            maps[path.name] = arrays["inst_map"]
    return maps


def test_every_real_nucleus_equals_regionprops(shared):
    maps = real_label_maps(shared)
    assert len(maps) == 12
    for labels in maps.values():
        assert_equals_regionprops(labels)


@st.composite
def label_maps(draw: st.DrawFn) -> np.ndarray:
    """Blobs that touch, overlap, have holes and cross the border, with specks of any label."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    ids = rng.choice(200, size=8, replace=False) + 1
    labels = np.zeros((height, width), dtype=draw(st.sampled_from([np.uint8, np.int32, np.int64])))
    for _ in range(draw(st.integers(0, 12))):
        centre = rng.uniform(-3, [height + 3, width + 3])
        radii = rng.uniform(0.5, 12, size=2)
        blob = ellipse(*centre, *radii, shape=labels.shape, rotation=rng.uniform(-3, 3))
        labels[blob] = rng.choice(ids)
        hole = ellipse(*centre, *radii * rng.uniform(0, 0.8), shape=labels.shape)
        labels[hole] = rng.choice([0, labels[hole].max(initial=0), rng.choice(ids)])
    specks = rng.random(labels.shape) < draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    labels[specks] = rng.choice([0, *ids], size=labels.shape)[specks]
    return labels


@settings(max_examples=150, deadline=None)
@given(label_maps())
def test_any_map_equals_regionprops(labels):
    # Where the minor axis is zero regionprops returns the root of its rounding error.
    assert_equals_regionprops(labels, atol=1e-5)


@pytest.mark.parametrize(
    "rows",
    [
        ["#"],
        ["#####"],
        ["#", "#", "#"],
        ["#..", ".#.", "..#"],
        ["#......", ".......", "......#"],
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
        [".##.", "#..#", ".##."],
        ["###", "#.#", "##."],
        ["###", "#.#", "###", "...", "...", "#.."],  # fewer runs than rows, and a hole
        ["#.#.#", "#.#.#", "#####"],
        ["##..", "##..", "..##", "..##"],
        [".####.", "######"],
    ],
)
def test_awkward_nucleus_equals_regionprops(rows):
    nucleus = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert_equals_regionprops(np.pad(nucleus, ((0, 2), (3, 1))) * 7, atol=1e-7)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i4"]
)
def test_every_integer_type_is_measured_alike(dtype):
    labels = np.zeros((9, 12), dtype=dtype)
    labels[1:4, 2:7] = 100
    labels[4:8, 5:6] = 3
    expected = measure_nuclei(labels.astype(np.int32))
    assert measure_nuclei(labels).equals(expected)
    assert measure_nuclei(np.asfortranarray(labels)).equals(expected)


def test_huge_labels_keep_their_order():
    labels = np.array([[2**62, 0, 5], [0, 10**12, 5]])
    table = measure_nuclei(labels)
    assert table["label"].to_pylist() == [5, 10**12, 2**62]
    assert table["area"].to_pylist() == [2.0, 1.0, 1.0]


@pytest.mark.parametrize("shape", [(5, 5), (0, 4), (4, 0)])
def test_map_without_nuclei_has_no_rows(shape):
    table = measure_nuclei(np.zeros(shape, dtype=np.int32))
    assert table.num_rows == 0
    assert table.column_names == ["label", *FEATURES]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 2, 2), dtype=int), r"shape \(H, W\), got \(2, 2, 2\)"),
        (np.zeros((2, 2)), "must be integers, got float64"),
        (np.zeros((2, 2), dtype=bool), "must be integers, got bool"),
        (np.array([[0, -3]]), "0 .background. or positive, got -3"),
        (np.array([[2**63]], dtype=np.uint64), "at most 9223372036854775807"),
    ],
)
def test_what_is_no_label_map_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        measure_nuclei(labels)


def test_place_of_a_nucleus_is_in_pixels_of_the_map():
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[4:7, 10:20] = 9
    measures = measure(labels)
    np.testing.assert_allclose(measures.centroid, [[5.0, 14.5]])
    np.testing.assert_array_equal(measures.bbox, [[4, 10, 7, 20]])
    np.testing.assert_allclose(nucleus_centroids(labels), measures.centroid)


def test_in_micrometres_scales_by_power_of_length_and_names_the_unit():
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[4:10, 10:20] = 9
    pixels, micrometres = measure_nuclei(labels), in_micrometres(measure_nuclei(labels), 0.25)
    assert micrometres["area_um2"][0].as_py() == 60 / 16
    assert micrometres["perimeter_um"][0].as_py() == pixels["perimeter"][0].as_py() / 4
    ratio = "inertia_tensor_eigvals-0"
    assert micrometres[f"{ratio}_um2"][0].as_py() == pytest.approx(pixels[ratio][0].as_py() / 16)
    for name in ("label", "eccentricity", "euler_number", "extent", "orientation", "solidity"):
        assert micrometres[name] == pixels[name]


@pytest.mark.parametrize("mpp", [0.0, -0.5, math.nan, math.inf])
def test_micrometres_need_a_positive_mpp(mpp):
    with pytest.raises(ValueError, match="mpp must be a positive number"):
        in_micrometres(measure_nuclei(np.eye(3, dtype=int)), mpp)


def test_encoder_is_finite_whatever_the_nucleus():
    labels = np.diag([1, 2, 3, 3, 3]).astype(np.int32)
    labels[0, 3:] = 4
    rows = feature_matrix(in_micrometres(measure_nuclei(labels), 0.25))
    encoder = build_encoder("nucleus-shape")
    vectors = encoder.encode(rows)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.spec.dim)
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[1:2], encoder.encode(rows[1:2]))
    np.testing.assert_allclose(vectors[:, 0], np.log1p(rows[:, 0]), rtol=1e-6)
    np.testing.assert_allclose(vectors[:, 13], rows[:, 13], rtol=1e-6)  # orientation


def test_encoder_takes_rows_one_by_one_and_none_at_all():
    rows = feature_matrix(measure_nuclei(np.eye(3, dtype=int)))
    assert NucleusShape().encode(list(rows)).shape == (1, len(FEATURES))
    assert NucleusShape().encode([]).shape == (0, len(FEATURES))


def test_encoder_refuses_rows_it_cannot_encode():
    with pytest.raises(ValueError, match="expected 16 features a nucleus, got 3"):
        NucleusShape().encode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected finite features"):
        NucleusShape().encode(np.full((1, 16), np.nan))


def test_table_has_the_types_of_regionprops():
    schema = measure_nuclei(np.eye(3, dtype=int)).schema
    assert schema.field("label").type == pa.int64()
    assert schema.field("euler_number").type == pa.int64()
    assert schema.field("area").type == pa.float64()
