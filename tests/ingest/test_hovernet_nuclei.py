"""HoVer-Net finds the nuclei of slides and tiles, each whole and once, whatever the blocks."""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from golden import fill, save_weights
from tumorbase.ingest import hovernet_nuclei, window_blocks
from tumorbase.ingest.hovernet_nuclei import hovernet_batches
from tumorbase.ingest.image_query import ImageQuestion, encode_image
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.nuclei import plan_nuclei, read_nuclei
from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.ingest.scaled_slide import ScaledSlide
from tumorbase.ingest.slide_source import open_slide
from tumorbase.ingest.slide_tissue import Tissue
from tumorbase.ingest.slides import read_slide
from tumorbase.ingest.window_blocks import Block, plan_blocks
from tumorbase.models.encoders import Runtime
from tumorbase.models.hovernet import MODES, Mode
from tumorbase.models.hovernet_encoder import TYPES, HoVerNetEncoder
from tumorbase.models.hovernet_post import instances
from tumorbase.models.hovernet_tiling import predict_with_features
from tumorbase.models.networks import build
from tumorbase.models.nucleus_pooling import pool_under_nuclei
from tumorbase.store.errors import MissingWeights
from tumorbase.store.store import Store

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "hovernet_post.py"
IDS = {"slide_id": "S1", "patient_id": "P1"}
SMALL = Mode(window_px=136, output_px=44, first_padding_px=3, decoder_kernel_px=3)


@pytest.fixture(scope="module")
def painting(shared: Path) -> np.ndarray:
    """Maps of dense real nuclei as a picture, uint8 (700, 583, 3): probability, x and y."""
    spec = importlib.util.spec_from_file_location("benchmark_hovernet_post", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    labels = benchmark.dense_tile(shared, 768)[:700, :583]
    probability, distances, _ = benchmark.predicted_maps(labels, 0.1)
    maps = np.concatenate([probability[..., None], distances / 4 + 0.5], axis=-1)
    return (255 * np.clip(maps, 0, 1)).astype(np.uint8)


def maps_of(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The maps that a picture shows, and types and features as good as any."""
    probability = picture[..., 0].astype(np.float32) / 255
    distances = (picture[..., 1:].astype(np.float32) / 255 - 0.5) * 4
    types = (picture[..., 2] // 52 + 1).astype(np.float32)
    return probability, distances, types


def features_of(picture: np.ndarray) -> np.ndarray:
    """(h, w, 64)."""
    return np.tile(picture, 22)[..., :64] * (np.arange(64) / 64).astype(np.float32)


class Painted(HoVerNetEncoder):
    """Sees in a pixel what is painted there, and nothing else."""

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        margin = self.mode.margin_px // 2
        pictures = np.moveaxis(inputs[0], 1, -1)[:, margin:-margin, margin:-margin]
        probability, distances, types = maps_of(pictures)
        maps = [types[..., None], probability[..., None], distances]
        planes = np.moveaxis(np.concatenate(maps if self.types else maps[1:], axis=-1), -1, 1)
        features = torch.from_numpy(features_of(pictures)).permute(0, 3, 1, 2)
        cells = F.avg_pool2d(features, 2).permute(0, 2, 3, 1).half().contiguous().numpy()
        rows = [values.reshape(len(pictures), -1) for values in (planes, cells.view(np.float32))]
        return np.concatenate(rows, axis=1)


def painted(tmp_path: Path, name: str = "hovernet-pannuke") -> Painted:
    (tmp_path / f"{name}.pth").write_bytes(b"never read")
    return Painted(name, Runtime(weights=tmp_path))


def nuclei_of(
    picture: np.ndarray,
    encoder: HoVerNetEncoder,
    tmp_path: Path,
    mpp: float = 0.25,
    mask: np.ndarray | None = None,
) -> pa.Table:
    """Rows of the nuclei of a slide by their places; without a mask, it is tissue all over."""
    Image.fromarray(picture).save(tmp_path / "slide.png")
    with open_slide(str(tmp_path / "slide.png"), mpp) as slide:
        if mask is None:
            mask = np.ones((-(-slide.height_px // 16), -(-slide.width_px // 16)), dtype=bool)
        tissue = Tissue(mask, 16, is_dark_field=False)
        batches = list(hovernet_batches(slide, tissue, encoder, IDS, defaultdict(float)))
    return pa.Table.from_batches(batches).sort_by(
        [("y_level0_px", "ascending"), ("x_level0_px", "ascending")]
    )


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of three windows that overlap by one, and slopes measured by all of them."""
    monkeypatch.setattr(window_blocks, "BLOCK_PX", (492, 492))
    for module in (hovernet_nuclei, window_blocks):
        monkeypatch.setattr(module, "SPAN_BLOCKS", 100)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row of one with that of the other."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / lengths


@pytest.mark.usefixtures("small_blocks")
def test_stitched_blocks_have_the_nuclei_of_one_big_tile(
    painting: np.ndarray, tmp_path: Path
) -> None:
    encoder = painted(tmp_path)
    found = nuclei_of(painting, encoder, tmp_path)
    whole = instances(*maps_of(painting), 6)
    y, x = whole.shapes.centroid.T
    order = np.lexsort((x, y))
    assert found.num_rows == len(order) > 200
    assert len(set(found["nucleus_id"].to_pylist())) == len(order)
    np.testing.assert_allclose(found["x_level0_px"], x[order], atol=1e-9)
    np.testing.assert_allclose(found["y_level0_px"], y[order], atol=1e-9)
    for name in ("area", "perimeter", "solidity", "eccentricity"):
        expected = whole.shapes.table()[name].to_numpy()[order]
        np.testing.assert_allclose(found[name].to_numpy(), expected, rtol=1e-9)
    names = [TYPES["hovernet-pannuke"][number] for number in whole.type[order]]
    assert found["type"].to_pylist() == names
    np.testing.assert_allclose(found["type_probability"], whole.type_prob[order], rtol=1e-6)
    vectors = np.stack(found["vector"].to_pylist())
    features = features_of(painting).astype(np.float16)
    means = pool_under_nuclei(features, whole.labels)[order]
    assert cosines(vectors, means).min() > 0.999  # means of cells, in half precision
    lengths = np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), lengths, rtol=0.05)


@pytest.mark.usefixtures("small_blocks")
def test_nuclei_do_not_depend_on_the_blocks(
    painting: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = painted(tmp_path)
    encoder.threads = 2  # as on a GPU
    found = nuclei_of(painting, encoder, tmp_path)
    monkeypatch.setattr(window_blocks, "BLOCK_PX", (10_000, 10_000))
    in_one = nuclei_of(painting, encoder, tmp_path)
    assert found["type"].equals(in_one["type"])
    for name in ("x_level0_px", "y_level0_px", "type_probability", "area", "perimeter"):
        np.testing.assert_allclose(found[name], in_one[name], rtol=1e-12)
    vectors, others = (np.stack(t["vector"].to_pylist()) for t in (found, in_one))
    np.testing.assert_allclose(vectors, others, atol=1e-6)


def blocks_of(painting: np.ndarray, mask: np.ndarray, tmp_path: Path) -> list[Block]:
    """The blocks of a slide whose tissue has a mask of 16 px a step."""
    Image.fromarray(painting).save(tmp_path / "slide.png")
    with open_slide(str(tmp_path / "slide.png"), 0.25) as slide:
        tissue = Tissue(mask, 16, is_dark_field=False)
        return plan_blocks(ScaledSlide(slide, 0.25), tissue, MODES["fast"])


def test_cores_cover_the_slide_and_no_window_is_run_twice_in_a_row_of_blocks(
    painting: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_blocks, "BLOCK_PX", (492, 328))
    monkeypatch.setattr(window_blocks, "SPAN_BLOCKS", 100)
    blocks = blocks_of(painting, np.ones((44, 37), dtype=bool), tmp_path)
    assert len(blocks) == 2 * 3
    times_owned, times_run = np.zeros(painting.shape[:2]), np.zeros((5, 4))
    for block in blocks:
        times_owned[block.core] += 1
        rows, columns = (slice(s.start // 164, -(-s.stop // 164)) for s in block.shown)
        times_run[rows, columns] += block.to_run
    assert (times_owned == 1).all()
    assert (times_run == [[1], [1], [2], [1], [1]]).all()  # the third is of both rows of blocks


def test_slopes_are_measured_by_full_blocks_from_all_over_the_slide(
    painting: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_blocks, "BLOCK_PX", (328, 328))
    monkeypatch.setattr(window_blocks, "SPAN_BLOCKS", 2)
    mask = np.zeros((44, 37), dtype=bool)
    for row, column in ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (3, 1), (4, 1)):
        # In the window's middle, or in what the slide has of it.
        mask[min((row * 164 + 82) // 16, 43), (column * 164 + 82) // 16] = True
    blocks = blocks_of(painting, mask, tmp_path)
    corners = [(block.core[0].start, block.core[1].start) for block in blocks]
    # Three of four windows have tissue at (410, 0), and four at (574, 0).
    assert corners[:2] == [(410, 0), (574, 0)]
    assert corners[2:] == [(0, 0), (246, 0), (410, 246), (574, 246)]


def test_windows_without_tissue_are_not_run(painting: np.ndarray, tmp_path: Path) -> None:
    encoder = painted(tmp_path)
    ran = []
    run = encoder.run
    encoder.run = lambda windows: ran.append(len(windows)) or run(windows)
    Image.fromarray(painting).save(tmp_path / "slide.png")
    mask = np.zeros((44, 37), dtype=bool)
    mask[2, 3] = mask[25, 3] = True
    with open_slide(str(tmp_path / "slide.png"), 0.25) as slide:
        tissue = Tissue(mask, 16, is_dark_field=False)
        (batch,) = hovernet_batches(slide, tissue, encoder, IDS, defaultdict(float))
    assert sum(ran) == 2
    y = batch["y_level0_px"].to_numpy()
    assert set((y // 16).astype(int).tolist()) <= {2, 25}


@pytest.mark.usefixtures("small_blocks")
def test_nuclei_at_the_edge_of_tissue_are_those_of_a_slide_that_is_tissue_all_over(
    painting: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = painted(tmp_path)
    measured = []
    spans_of = hovernet_nuclei._spans
    monkeypatch.setattr(
        hovernet_nuclei, "_spans", lambda some: measured.append(spans_of(some)) or measured[0]
    )
    everywhere = nuclei_of(painting, encoder, tmp_path)
    rows, columns = (everywhere[f"{axis}_level0_px"].to_numpy() for axis in "yx")
    random = np.random.default_rng(0)
    for _ in range(4):
        coarse = random.random((11, 10)) < 0.3
        mask = np.kron(coarse, np.ones((4, 4), dtype=bool))[:44, :37]
        found = nuclei_of(painting, encoder, tmp_path, mask=mask)
        expected = everywhere.filter(Tissue(mask, 16, is_dark_field=False).holds(columns, rows))
        for name in ("x_level0_px", "y_level0_px", "area", "type_probability"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_a_network_without_types_tells_none(painting: np.ndarray, tmp_path: Path) -> None:
    found = nuclei_of(painting[:90, :170], painted(tmp_path, "hovernet-kumar"), tmp_path)
    assert found.num_rows > 3
    assert set(found["type"].to_pylist()) == set(found["type_probability"].to_pylist()) == {None}


@pytest.mark.parametrize("mpp", [0.1, 0.25, 0.26, 0.5])
def test_parts_of_a_slide_at_another_mpp_are_those_of_the_whole(
    shared: Path, tmp_path: Path, mpp: float
) -> None:
    with open_slide(str(shared / "data/pathology/tiles/histo.jpg"), mpp) as slide:
        scaled = ScaledSlide(slide, 0.25)
        scale = {0.1: 2.5, 0.5: 0.5}.get(mpp, 1.0)
        assert scaled.mpp == pytest.approx(mpp * scale)
        assert (scaled.height_px, scaled.width_px) == (round(300 / scale), round(500 / scale))
        whole = scaled.read(slice(0, scaled.height_px), slice(0, scaled.width_px))
        part = scaled.read(slice(13, scaled.height_px), slice(26, 101))
        assert np.abs(part.astype(int) - whole[13:, 26:101]).max() <= 1
        places = scaled.to_level0(np.array([0.0, scaled.width_px - 1.0]))
        np.testing.assert_allclose(places, [(scale - 1) / 2, 500 - (scale + 1) / 2])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_weights("hovernet-pannuke", folder)
    return folder


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of half the size, which are computed in a quarter of the time."""
    monkeypatch.setitem(MODES, "fast", SMALL)


@pytest.fixture
def tile(shared: Path, tmp_path: Path) -> Callable[[str], Path]:
    """77 x 41 px of tissue in a folder of its own, in a mode of Pillow's."""

    def saved(mode: str) -> Path:
        with Image.open(shared / "data/pathology/tiles/histo.jpg") as image:
            cut = image.crop((20, 200, 97, 241)).convert(mode)
        (tmp_path / "tiles").mkdir()
        cut.save(tmp_path / "tiles" / "P1.png")
        return tmp_path / "tiles" / "P1.png"

    return saved


def rows_of(path: Path, weights: Path, staging: Path) -> ItemRows:
    item = Item("slide", "slide:P1", str(path), (str(path),), "P1", {"slide_id": "P1"})
    return read_slide(item, Context(staging, ("hovernet-pannuke",), Runtime(weights=weights), 0.25))


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_tile_has_the_nuclei_that_the_network_predicts(
    tile: Callable[[str], Path], weights: Path, tmp_path: Path, mode: str
) -> None:
    path = tile(mode)
    (staged,) = [v for v in rows_of(path, weights, tmp_path).vectors if v.spec.level == "nucleus"]
    found = pa.ipc.open_stream(staged.path).read_all()
    network = fill(build("hovernet", mode="fast", nr_types=6))
    image = np.asarray(Image.open(path).convert("RGB"))
    prediction, features = predict_with_features(network, image)
    whole = instances(prediction[..., 1], prediction[..., 2:], prediction[..., 0], 6)
    assert found.num_rows == len(whole.shapes.label) == 2
    np.testing.assert_allclose(found["x_level0_px"], whole.shapes.centroid[:, 1])
    np.testing.assert_allclose(found["type_probability"], whole.type_prob, rtol=1e-6)
    means = pool_under_nuclei(features, whole.labels)
    vectors = np.stack(found["vector"].to_pylist())
    assert vectors.shape == means.shape
    assert cosines(vectors, means).min() > 0.999


@pytest.mark.usefixtures("small_windows")
def test_ingest_adds_the_nuclei_of_a_network_once(
    tile: Callable[[str], Path], weights: Path, tmp_path: Path
) -> None:
    options = IngestOptions(
        encoders=("hovernet-pannuke",), weights=str(weights), mpp=0.25, device="cpu", workers=1
    )
    with Store.create(tmp_path / "store") as store:
        folder = tile("RGB").parent
        summary = ingest(store, [folder], options)
        assert (summary.added["slides"], summary.quarantined) == (1, ())
        assert summary.added["nuclei"] == 2
        view = store.view()
        (encoder,) = view.encoders("nucleus")
        assert (encoder.name, encoder.dim) == ("hovernet-pannuke", 64)
        stored = view.vectors(encoder).raw
        again = ingest(store, [folder], options)
        assert (again.unchanged, again.committed) == (1, 0)
    question = ImageQuestion(folder / "P1.png", "nucleus", mpp=0.25)
    asked = encode_image(question, "hovernet-pannuke", "", Runtime(weights=weights))
    assert asked.encoder_id == encoder.encoder_id
    assert np.abs(stored - asked.vector).max(axis=1).min() < 1e-5


@pytest.fixture
def with_contours(tile: Callable[[str], Path], tmp_path: Path) -> Path:
    """A cohort of one slide and a file of one nucleus of it."""
    slides = tmp_path / "cohort/pathology/slides"
    slides.parent.mkdir(parents=True)
    tile("RGB").parent.rename(slides)
    (slides.parent / "nuclei").mkdir()
    square = {"contour": [[10, 10], [20, 10], [20, 20], [10, 20]], "type": 1, "type_prob": 0.9}
    content = json.dumps({"mag": 40, "nuc": {"1": square}})
    (slides.parent / "nuclei/P1.json").write_text(content)
    return tmp_path / "cohort"


SHAPES = IngestOptions(mpp=0.25, workers=1)


def by_network(weights: Path) -> IngestOptions:
    return replace(SHAPES, encoders=("hovernet-pannuke",), weights=str(weights), device="cpu")


def counted(store: Store) -> dict[str, int]:
    """How many nuclei each encoder has."""
    view = store.view()
    return {encoder.name: view.vector_rows(encoder) for encoder in view.encoders("nucleus")}


@pytest.mark.usefixtures("small_windows")
def test_a_network_looks_beside_nuclei_that_were_imported(
    with_contours: Path, weights: Path, tmp_path: Path
) -> None:
    with Store.create(tmp_path / "store") as store:
        ingest(store, [with_contours], SHAPES)
        summary = ingest(store, [with_contours], by_network(weights))
        nuclei = counted(store)
    assert (summary.quarantined, summary.committed, summary.unchanged) == ((), 1, 1)
    assert nuclei == {"nucleus-shape": 1, "hovernet-pannuke": 2}


@pytest.mark.usefixtures("small_windows")
def test_contours_are_left_out_of_a_run_of_networks_and_taken_by_a_later_one(
    with_contours: Path, weights: Path, tmp_path: Path
) -> None:
    states = []
    with Store.create(tmp_path / "store") as store:
        first = ingest(
            store, [with_contours], by_network(weights), lambda told: states.append(told.state)
        )
        assert counted(store) == {"hovernet-pannuke": 2}
        assert (first.quarantined, first.committed, first.left_out) == ((), 1, 1)
        assert sorted(states) == ["committed", "left out"]
        later = ingest(store, [with_contours], SHAPES)
        assert (later.committed, later.unchanged, later.left_out) == (1, 1, 0)
        assert counted(store) == {"nucleus-shape": 1, "hovernet-pannuke": 2}


@pytest.mark.usefixtures("small_windows")
def test_a_slide_is_searched_once_whether_contours_that_are_left_out_lie_beside_it_or_not(
    with_contours: Path, weights: Path, tmp_path: Path
) -> None:
    slides, options = with_contours / "pathology/slides", by_network(weights)
    with Store.create(tmp_path / "store") as store:
        ingest(store, [with_contours], options)
        for paths in ([slides], [with_contours], [slides]):
            assert ingest(store, paths, options).encoded == {}
        assert counted(store) == {"hovernet-pannuke": 2}


def test_missing_weights_are_named(tile: Callable[[str], Path], tmp_path: Path) -> None:
    options = IngestOptions(encoders=("hovernet-consep",), weights=str(tmp_path), mpp=0.25)
    message = "hovernet_original_consep_type_tf2pytorch.tar"
    with (
        Store.create(tmp_path / "store") as store,
        pytest.raises(MissingWeights, match=message),
    ):
        ingest(store, [tile("RGB")], options)


def test_a_slide_without_tissue_has_no_nuclei(weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "P1.png")
    rows = rows_of(tmp_path / "P1.png", weights, tmp_path)
    assert [v.rows for v in rows.vectors if v.spec.level == "nucleus"] == [0]


def test_a_grey_tile_is_not_stained_and_has_no_nuclei(
    tile: Callable[[str], Path], weights: Path, tmp_path: Path
) -> None:
    rows = rows_of(tile("L"), weights, tmp_path)
    assert [v.rows for v in rows.vectors if v.spec.level == "nucleus"] == [0]


def test_a_slide_too_coarse_for_nuclei_is_not_searched(
    tile: Callable[[str], Path], weights: Path, tmp_path: Path
) -> None:
    path = tile("RGB")
    item = Item("slide", "slide:P1", str(path), (str(path),), "P1", {"slide_id": "P1"})
    rows = read_slide(item, Context(tmp_path, ("hovernet-pannuke",), Runtime(weights=weights), 0.7))
    assert not rows.vectors


def test_contours_are_not_given_to_a_network(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "P1.json").write_text('{"mag": 40, "nuc": {}}')
    (item,) = plan_nuclei([tmp_path / "P1.json"], lambda name: "P1").items
    both = Context(tmp_path, ("nucleus-shape", "hovernet-pannuke"), Runtime(weights=weights))
    assert [v.spec.name for v in read_nuclei(item, both).vectors] == ["nucleus-shape"]
