"""HoVer-Net's post-processing against the reference's maps and against OpenCV and scikit-image."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from golden import seeded
from tumorbase.models import hovernet_post
from tumorbase.models._components import fill_holes, label_components
from tumorbase.models._flood import flood
from tumorbase.models._separable_filter import correlate
from tumorbase.models.hovernet_post import instances
from tumorbase.models.hovernet_slopes import falls, spans_of
from tumorbase.models.nucleus_shape import measure_nuclei

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "hovernet_post.py"


@pytest.fixture(scope="module")
def golden(shared):
    file = np.load(shared / "reference" / "hovernet" / "golden.npz")
    return {key.removeprefix("post_a/"): file[key] for key in file if key.startswith("post_a/")}


@pytest.fixture(scope="module")
def maps(golden):
    """Probability, and distances, of the reference's example."""
    return golden["pred_map"][..., 0], golden["pred_map"][..., 1:]


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark's module: the reference's calls, and maps as a network would predict them."""
    spec = importlib.util.spec_from_file_location("benchmark_hovernet_post", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_label_map_is_the_references(golden, maps):
    np.testing.assert_array_equal(instances(*maps).labels, golden["inst_map"])


def test_steps_are_the_references(golden, maps, monkeypatch):
    seen = {}

    def recording(height, markers, parts):
        seen.update(height=height, markers=markers, parts=parts)
        return flood(height, markers, parts)

    monkeypatch.setattr(hovernet_post, "flood", recording)
    instances(*maps)
    np.testing.assert_array_equal(seen["parts"] > 0, golden["step_blb"] > 0)
    np.testing.assert_array_equal(-seen["height"].astype(np.float32), golden["step_dist"])
    np.testing.assert_array_equal(seen["markers"], golden["step_marker"])
    everywhere = np.ones(maps[0].shape, dtype=bool)
    for channel, (axis, name) in enumerate((("x", "step_sobelh"), ("y", "step_sobelv"))):
        fall = falls(np.ascontiguousarray(maps[1][..., channel]), axis, everywhere)
        np.testing.assert_array_equal(fall.reshape(everywhere.shape), golden[name])


def test_table_of_nuclei_is_the_references(golden, maps):
    found = instances(*maps, golden["type_map"], int(golden["nr_types"]))
    np.testing.assert_array_equal(found.shapes.label, golden["info_id"])
    np.testing.assert_array_equal(found.shapes.bbox.reshape(-1, 2, 2), golden["info_bbox"])
    np.testing.assert_allclose(found.shapes.centroid[:, ::-1], golden["info_centroid"])
    np.testing.assert_array_equal(found.type, golden["info_type"])
    np.testing.assert_allclose(found.type_prob, golden["info_type_prob"], rtol=1e-12)
    assert found.shapes.table().equals(measure_nuclei(found.labels))
    np.testing.assert_array_equal(found.labels, golden["inst_map"])


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_dense_real_nuclei_are_parted_as_by_opencv_and_scikit_image(benchmark, shared, noise):
    labels = benchmark.dense_tile(shared, 512)
    probability, distances, types = benchmark.predicted_maps(labels, noise)
    found = instances(probability, distances, types, benchmark.NR_TYPES)
    np.testing.assert_array_equal(found.labels, benchmark.peer(probability, distances))
    assert len(found.shapes.label) > 200


@pytest.mark.filterwarnings("ignore:Only one label was provided")
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (7, 3), (40, 5), (63, 101)])
def test_tiles_of_any_size_are_parted_as_by_opencv_and_scikit_image(benchmark, shape):
    random = seeded(3)
    probability = ndimage.gaussian_filter(random.random(shape), 1.5).astype(np.float32)
    probability += np.float32(0.5 - probability.mean())
    distances = ndimage.gaussian_filter(random.normal(size=(*shape, 2)), (4, 4, 0))
    distances = distances.astype(np.float32)
    expected = benchmark.peer(probability, distances)
    np.testing.assert_array_equal(instances(probability, distances).labels, expected)


def test_background_everywhere_is_no_nucleus():
    nothing = np.zeros((64, 48), np.float32)
    found = instances(nothing, np.zeros((64, 48, 2)), np.zeros((64, 48)), 5)
    assert not found.labels.any()
    assert len(found.shapes.label) == len(found.type) == len(found.type_prob) == 0


def test_type_is_the_most_frequent_one_but_background():
    one = np.ones((20, 20), np.float32)
    x = np.broadcast_to(np.linspace(-1, 1, 20), (20, 20))
    types = np.zeros((20, 20))
    types[0, :6], types[1, :6], types[2, :5] = 3, 2, 1
    found = instances(one, np.stack([x, x.T], axis=-1), types, 4)
    assert found.type.tolist() == [2]  # as many as of type 3, and the lower number
    np.testing.assert_allclose(found.type_prob, 6 / (400 + 1e-6))


def test_parts_measured_by_the_spans_of_the_whole_have_its_nuclei(benchmark, shared):
    probability, distances, _ = benchmark.predicted_maps(benchmark.dense_tile(shared, 512), 0.1)
    whole = instances(probability, distances).labels
    shown = [slice(0, 400), slice(200, 512)]  # rows of each part
    own = [slice(0, 300), slice(100, 312)]  # rows of its middle, in its own
    x, y = (np.ascontiguousarray(distances[..., axis]) for axis in (0, 1))
    regions = [(o, slice(None)) for o in own]
    spans = tuple(
        spans_of([(distance[s], r) for s, r in zip(shown, regions, strict=True)], axis)
        for distance, axis in ((x, "x"), (y, "y"))
    )
    parts = [instances(probability[s], distances[s], spans=spans).labels for s in shown]
    for part, rows, expected in zip(parts, own, (whole[:300], whole[300:]), strict=True):
        pairs = np.unique(np.stack([part[rows].ravel(), expected.ravel()]), axis=1)
        assert pairs[:, 0].tolist() == [0, 0]
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1] > 50


@pytest.mark.parametrize(
    ("np_map", "hv_map", "tp_map", "nr_types", "message"),
    [
        (np.zeros((4, 4, 1)), np.zeros((4, 4, 2)), None, None, "np_map must be"),
        (np.zeros((0, 4)), np.zeros((0, 4, 2)), None, None, "np_map must be"),
        (np.zeros((4, 4)), np.zeros((2, 4, 4)), None, None, "hv_map must be"),
        (np.full((4, 4), np.nan), np.zeros((4, 4, 2)), None, None, "must be finite"),
        (np.zeros((4, 4)), np.full((4, 4, 2), np.inf), None, None, "must be finite"),
        (np.zeros((4, 4)), np.zeros((4, 4, 2)), np.zeros((4, 4)), None, "nr_types must be given"),
        (np.zeros((4, 4)), np.zeros((4, 4, 2)), np.zeros((4, 5)), 5, "tp_map must be"),
        (np.zeros((4, 4)), np.zeros((4, 4, 2)), np.full((4, 4), 5), 5, "whole numbers in"),
        (np.zeros((4, 4)), np.zeros((4, 4, 2)), np.full((4, 4), 0.5), 5, "whole numbers in"),
    ],
)
def test_maps_that_do_not_fit_are_refused(np_map, hv_map, tp_map, nr_types, message):
    with pytest.raises(ValueError, match=message):
        instances(np_map, hv_map, tp_map, nr_types)


def test_flood_is_scikit_images_watershed_even_where_heights_are_equal():
    """With few heights, the order in which equal pixels of markers go on often tells."""
    random = seeded(0)
    for _ in range(300):
        shape = tuple(random.integers(1, 40, 2))
        smooth = ndimage.gaussian_filter(random.random(shape), random.uniform(0, 2))
        levels = random.integers(1, 30)
        height = np.floor(levels * (smooth - smooth.min()) / (np.ptp(smooth) + 1e-9))
        height = np.round(height / levels * 2**28) / 2**28
        mask = random.random(shape) < random.uniform(0.5, 1.0)
        markers, _ = ndimage.label(random.random(shape) < random.uniform(0.02, 0.4))
        parted = flood(height, markers.astype(np.int32), label_components(mask.view(np.uint8), 0))
        np.testing.assert_array_equal(parted, watershed(-height, markers, mask=mask))


def test_components_and_holes_are_scipys():
    random = seeded(1)
    for _ in range(100):
        mask = random.random(tuple(random.integers(1, 40, 2))) < random.uniform(0.3, 0.8)
        labels, _ = ndimage.label(mask)
        np.testing.assert_array_equal(label_components(mask.view(np.uint8), 0), labels)
        is_small = np.bincount(labels.ravel()) < 5
        expected = np.where(is_small[labels], 0, labels)
        np.testing.assert_array_equal(label_components(mask.view(np.uint8), 5), expected)
        filled = mask.copy()
        fill_holes(filled.view(np.uint8))
        np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("size", [3, 5, 15, 21])
def test_separable_filter_is_opencvs_sobel(size):
    image = seeded(2).normal(size=(33, 50)).astype(np.float32)
    for order in ((1, 0), (0, 1), (1, 1), (2, 0)):
        expected = cv2.Sobel(image, cv2.CV_64F, *order, ksize=size)
        kernels = [k.ravel().astype(np.float64) for k in cv2.getDerivKernels(*order, size)]
        np.testing.assert_allclose(correlate(image, *kernels), expected, rtol=1e-9, atol=1e-6)


def test_opening_is_opencvs_with_an_ellipse():
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    random = seeded(4)
    for shape in ((1, 9), (30, 41), (64, 64)):
        is_nucleus = random.random(shape) < 0.9
        cores = hovernet_post._cores(is_nucleus, np.zeros(is_nucleus.sum(), np.float32))
        filled = ndimage.binary_fill_holes(is_nucleus).astype(np.uint8)
        np.testing.assert_array_equal(cores, cv2.morphologyEx(filled, cv2.MORPH_OPEN, kernel) > 0)
