"""Networks embed the patches of slides and tiles, and slides by their regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pyarrow as pa
import pytest
import torch
from PIL import Image

from golden import save_weights
from tumorbase.ingest import slide_regions
from tumorbase.ingest.image_query import ImageQuestion, encode_image
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.ingest.slides import read_slide
from tumorbase.models.encoders import Runtime, build_encoder
from tumorbase.models.hipt import Hipt4K
from tumorbase.models.hipt_encoder import HiptRegionEncoder
from tumorbase.models.slide_region import SlideRegion
from tumorbase.query.export import export_level
from tumorbase.store.store import Store

SVS = "data/pathology/wsi/cmu-1-small-region.svs"
PATCH_ENCODERS = (
    "hipt-vit256",
    "resnet50-layer3",
    "timm-resnet10t",
    "torchvision-resnet18.IMAGENET1K_V1",
)
MPP = 0.5


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in (*PATCH_ENCODERS, "hipt-vit4k"):
        save_weights(name, folder)
    return folder


@pytest.fixture(scope="module")
def tissue(shared: Path) -> Image.Image:
    """900 x 600 px of tissue."""
    with openslide.OpenSlide(shared / SVS) as slide:
        return slide.read_region((700, 1000), 0, (900, 600)).convert("RGB")


def rows_of(path: Path, weights: Path, staging: Path, *encoders: str) -> ItemRows:
    details = {"slide_id": path.stem}
    item = Item("slide", f"slide:{path.stem}", str(path), (str(path),), "P1", details)
    return read_slide(item, Context(staging, encoders, Runtime(weights=weights), MPP))


def table_of(rows: ItemRows, encoder: str) -> pa.Table:
    (staged,) = [vectors for vectors in rows.vectors if vectors.spec.name == encoder]
    return pa.ipc.open_stream(staged.path).read_all()


def vectors_of(rows: ItemRows, encoder: str) -> np.ndarray:
    return np.stack(table_of(rows, encoder)["vector"].to_pylist())


def saved(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


def test_a_real_slide_has_a_vector_of_each_patch_with_tissue(
    shared: Path, weights: Path, tmp_path: Path
) -> None:
    rows = rows_of(shared / SVS, weights, tmp_path, "timm-resnet10t")
    table, vectors = table_of(rows, "timm-resnet10t"), vectors_of(rows, "timm-resnet10t")
    assert 35 <= len(vectors) <= 45
    corner = (table["x_level0_px"][7].as_py(), table["y_level0_px"][7].as_py())
    with openslide.OpenSlide(shared / SVS) as slide:
        patch = np.asarray(slide.read_region(corner, 0, (256, 256)).convert("RGB"))
    encoder = build_encoder("timm-resnet10t", Runtime(weights=weights))
    np.testing.assert_allclose(encoder.encode([patch])[0], vectors[7], rtol=1e-3, atol=1e-5)


def test_networks_encode_beside_each_other_into_the_store(
    tissue: Image.Image, weights: Path, tmp_path: Path
) -> None:
    tile = saved(tissue.crop((0, 0, 512, 512)), tmp_path / "P1.png")
    options = IngestOptions(
        source="slides",
        encoders=(*PATCH_ENCODERS, "hipt-4k"),
        mpp=MPP,
        workers=1,
        device="cpu",
        weights=str(weights),
    )
    with Store.create(tmp_path / "store") as store:
        summary = ingest(store, [tile], options)
        view = store.view()
        found = {e.name: (e.dim, view.vector_rows(e)) for e in view.encoders("patch")}
        slides = {e.name: (e.dim, view.vector_rows(e)) for e in view.encoders("slide")}
        (region,) = export_level(view, "region").read_all().to_pylist()
        again = ingest(store, [tile], options)
    assert not summary.quarantined
    dims = {"hipt-vit256": 384, "resnet50-layer3": 1024}
    assert found == {name: (dims.get(name, 512), 4) for name in PATCH_ENCODERS}
    pooled = {f"{name}-pooled": (2 * dims.get(name, 512), 1) for name in PATCH_ENCODERS}
    assert slides == {**pooled, "hipt-4k-pooled": (1152, 1)}
    assert len(region.pop("embedding")) == 576
    assert region == {
        "region_id": "P1/0_0",
        "slide_id": "P1",
        "patient_id": "P1",
        "x_level0_px": 0,
        "y_level0_px": 0,
        "width_level0_px": 512,
        "height_level0_px": 512,
        "mpp": MPP,
        "tissue_patches": 4,
    }
    assert again.unchanged == 1


@torch.inference_mode()
def test_regions_have_their_vectors_and_the_slide_their_mean_by_tissue(
    tissue: Image.Image, weights: Path, tmp_path: Path
) -> None:
    canvas = Image.new("RGB", (4096 + 512, 256), "white")  # a region of 16 patches, and one of two
    canvas.paste(tissue.crop((0, 0, 768, 256)), (15 * 256, 0))
    rows = rows_of(saved(canvas, tmp_path / "two.png"), weights, tmp_path, "hipt-4k")
    encoder = build_encoder("hipt-4k", Runtime(weights=weights))
    assert isinstance(encoder, HiptRegionEncoder)
    network = encoder._tower().eval().network.network
    assert isinstance(network, Hipt4K)
    expected = []
    for left, right in ((0, 4096), (4096, 4608)):
        pixels = np.array(canvas.crop((left, 0, right, 256)))
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        expected.append(network.features((image - 0.5) / 0.5).mean256_cls4k[0].numpy())
    np.testing.assert_allclose(vectors_of(rows, "hipt-4k"), expected, rtol=1e-3, atol=1e-4)
    table = table_of(rows, "hipt-4k")
    assert table["region_id"].to_pylist() == ["two/0_0", "two/4096_0"]
    assert table["width_level0_px"].to_pylist() == [4096, 512]
    assert table["tissue_patches"].to_pylist() == [1, 2]
    mean = np.average(expected, axis=0, weights=[1, 2])
    pooled = vectors_of(rows, "hipt-4k-pooled")[0]
    np.testing.assert_allclose(pooled[:576], mean, rtol=1e-3, atol=1e-4)


def test_a_slide_without_tissue_has_its_row_and_no_vector(weights: Path, tmp_path: Path) -> None:
    glass = saved(Image.new("RGB", (1024, 1024), "white"), tmp_path / "glass.png")
    rows = rows_of(glass, weights, tmp_path, "timm-resnet10t", "hipt-4k")
    assert rows.tables["slide"].num_rows == 1
    found = [(v.spec.name, v.rows) for v in rows.vectors]
    assert found == [("timm-resnet10t", 0), ("hipt-4k", 0)]


def test_regions_are_not_looked_for_where_no_encoder_takes_them(
    tissue: Image.Image, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_regions, "tissue_fractions", None)
    tile = saved(tissue.crop((0, 0, 256, 256)), tmp_path / "tile.png")
    rows = rows_of(tile, weights, tmp_path, "timm-resnet10t")
    assert [v.spec.level for v in rows.vectors] == ["patch", "slide"]


def test_a_tile_smaller_than_a_patch_is_one_patch_and_one_region(
    tissue: Image.Image, weights: Path, tmp_path: Path
) -> None:
    tile = saved(tissue.crop((0, 0, 200, 150)), tmp_path / "small.png")
    rows = rows_of(tile, weights, tmp_path, "timm-resnet10t", "hipt-4k")
    assert vectors_of(rows, "timm-resnet10t").shape == (1, 512)
    assert vectors_of(rows, "hipt-4k").shape == (1, 576)


def test_a_transformer_of_pathology_embeds_a_slides_patches_and_the_slide(
    tissue: Image.Image, tmp_path: Path
) -> None:
    save_weights("virchow2", tmp_path, depth=1)
    tile = saved(tissue.crop((0, 0, 512, 256)), tmp_path / "tile.png")
    rows = rows_of(tile, tmp_path, tmp_path, "virchow2")
    assert vectors_of(rows, "virchow2").shape == (2, 2560)
    assert vectors_of(rows, "virchow2-pooled").shape == (1, 5120)


def test_an_image_asks_by_the_vector_that_ingest_would_store(
    tissue: Image.Image, weights: Path, tmp_path: Path
) -> None:
    tile = saved(tissue.crop((0, 0, 300, 300)), tmp_path / "tile.png")
    stored = vectors_of(rows_of(tile, weights, tmp_path, "hipt-4k"), "hipt-4k-pooled")[0]
    question = ImageQuestion(tile, "slide", mpp=MPP)
    asked = encode_image(question, "hipt-4k-pooled", "", Runtime(weights=weights))
    np.testing.assert_allclose(asked.vector, stored, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_tiles_are_embedded_as_what_they_show(
    tissue: Image.Image, weights: Path, tmp_path: Path, mode: str
) -> None:
    tile = tissue.crop((0, 0, 250, 250)).convert("L" if mode == "L" else "RGB")
    paths = [
        saved(tile.convert(mode), tmp_path / "as_is.png"),
        saved(tile.convert("RGB"), tmp_path / "rgb.png"),
    ]
    as_is, rgb = (rows_of(path, weights, tmp_path, "timm-resnet10t") for path in paths)
    own = vectors_of(as_is, "timm-resnet10t")
    np.testing.assert_array_equal(own, vectors_of(rgb, "timm-resnet10t"))


def test_a_region_smaller_than_a_patch_is_refused(weights: Path) -> None:
    encoder = build_encoder("hipt-4k", Runtime(weights=weights))
    assert encoder.encode([]).shape == (0, 576)
    with pytest.raises(ValueError, match="at least 256 x 256 px"):
        encoder.encode([SlideRegion(np.zeros((200, 256, 3), np.uint8), 1)])
