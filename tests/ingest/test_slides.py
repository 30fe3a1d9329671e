"""Slides become rows: real ones of every format, empty ones, tiles and bad ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from tumorbase.ingest import slide_nuclei
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.patient_names import patient_of_file
from tumorbase.ingest.slides import plan_slides, read_slide
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import VECTOR_ROWS

WSI = "data/pathology/wsi"
SYNTHETIC = "data/pathology/wsi_synthetic"
NUCLEUS_BLUE = (90, 60, 140)


def patient_of(name: str) -> str:
    return patient_of_file(name, frozenset())


def slide_item(path: Path) -> Item:
    (item,) = plan_slides([path], patient_of).items
    return item


def vectors_of(rows: ItemRows, level: str) -> pa.Table:
    (staged,) = [vectors for vectors in rows.vectors if vectors.spec.level == level]
    table = pa.ipc.open_stream(staged.path).read_all()
    assert table.num_rows == staged.rows
    assert table.column_names[: len(VECTOR_ROWS[level])] == VECTOR_ROWS[level].names
    assert len(table.column_names) == len(set(table.column_names))
    return table


def slide_row(rows: ItemRows) -> dict:
    (row,) = rows.tables["slide"].to_pylist()
    return row


@pytest.fixture(scope="module")
def svs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ItemRows:
    """The small region of CMU-1: 2,220 x 2,967 px at 0.499 um."""
    folder = tmp_path_factory.mktemp("svs")
    return read_slide(slide_item(shared / WSI / "cmu-1-small-region.svs"), Context(folder))


def test_a_real_slide_has_patches_on_its_tissue(svs: ItemRows) -> None:
    row = slide_row(svs)
    assert row["patient_id"] == row["slide_id"] == "cmu-1-small-region"
    assert (row["vendor"], row["width_px"], row["height_px"]) == ("aperio", 2220, 2967)
    assert 0.45 < row["tissue_mm2"] < 0.6
    patches = vectors_of(svs, "patch")
    assert 35 <= patches.num_rows <= 45
    x, y = patches["x_level0_px"].to_numpy(), patches["y_level0_px"].to_numpy()
    assert (x % 256 == 0).all()
    assert (x + 256 <= 2220).all()
    assert (y + 256 <= 2967).all()
    assert patches["patch_id"].to_pylist() == [
        f"cmu-1-small-region/{left}_{top}" for left, top in zip(x, y, strict=True)
    ]
    assert len(set(patches["patch_id"].to_pylist())) == patches.num_rows
    assert patches["tissue_fraction"].to_numpy().min() >= 0.2
    assert set(patches["mpp"].to_pylist()) == {0.499}


def test_the_slide_vector_pools_its_patch_vectors(svs: ItemRows) -> None:
    patches = np.stack(vectors_of(svs, "patch")["vector"].to_pylist())
    (pooled,) = vectors_of(svs, "slide")["vector"].to_pylist()
    expected = np.concatenate([patches.mean(axis=0), patches.std(axis=0)])
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-4)


def test_a_real_slide_has_nuclei_of_plausible_size(svs: ItemRows) -> None:
    nuclei = vectors_of(svs, "nucleus")
    assert 1000 < nuclei.num_rows < 4000
    area_um2 = nuclei["area"].to_numpy() * 0.499**2
    assert 15 < np.median(area_um2) < 80
    assert area_um2.max() <= 500
    assert nuclei["type"].null_count == nuclei.num_rows
    assert len(set(nuclei["nucleus_id"].to_pylist())) == nuclei.num_rows
    assert nuclei["x_level0_px"].to_numpy().max() < 2220


def test_a_fluorescence_slide_has_patches_at_half_a_micrometre(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_nuclei, "MAX_MPP", 0.0)  # its nuclei are tested on a part of it
    item = slide_item(shared / WSI / "test3-TRITC-2-560.ndpi")
    rows = read_slide(item, Context(tmp_path))
    patches = vectors_of(rows, "patch")
    assert 45 <= patches.num_rows <= 60
    assert set(patches["side_level0_px"].to_pylist()) == {561}
    assert patches["mpp"].to_numpy() == pytest.approx(0.5, abs=1e-3)


def test_glowing_nuclei_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (400, 400), (6, 6, 8))
    draw = ImageDraw.Draw(image)
    places = [(30 + 45 * i, 30 + 45 * j) for i in range(8) for j in range(8)]
    for x, y in places:
        draw.ellipse([x - 9, y - 9, x + 9, y + 9], fill=(20, 40, int(rng.integers(150, 220))))
    image.save(tmp_path / "dapi.png")
    rows = read_slide(slide_item(tmp_path / "dapi.png"), Context(tmp_path, mpp=0.4))
    nuclei = vectors_of(rows, "nucleus")
    found = cKDTree(np.stack([nuclei["x_level0_px"], nuclei["y_level0_px"]], axis=1))
    distance, _ = found.query(places)
    assert (distance < 1.5).mean() > 0.95
    assert nuclei.num_rows < 1.1 * len(places)


def test_patches_of_boxes_need_a_given_mpp(shared: Path, tmp_path: Path) -> None:
    item = slide_item(shared / SYNTHETIC / "boxes.tiff")
    with pytest.raises(BadInput, match="--mpp"):
        read_slide(item, Context(tmp_path))
    rows = read_slide(item, Context(tmp_path, mpp=0.5, patches=PatchGeometry(side_px=64)))
    assert vectors_of(rows, "patch").num_rows >= 6
    assert {str(path) for path in tmp_path.iterdir()} == {v.path for v in rows.vectors}


def test_files_of_one_dicom_series_are_one_slide(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "P7.1"
    folder.mkdir()
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        shutil.copy(shared / SYNTHETIC / name, folder / name)
    item = slide_item(folder)
    assert len(item.files) == 2
    assert item.patient_id == "P7"
    assert item.key == f"slide:{item.details['slide_id']}"
    assert item.details["slide_id"].startswith("1.3.6.1.4.1.5962")
    rows = read_slide(item, Context(tmp_path))
    assert slide_row(rows)["vendor"] == "dicom"
    assert vectors_of(rows, "patch")["mpp"].to_pylist() == [0.499]


def test_a_slide_smaller_than_a_patch_has_one(shared: Path, tmp_path: Path) -> None:
    rows = read_slide(slide_item(shared / SYNTHETIC / "small.svs"), Context(tmp_path))
    patches = vectors_of(rows, "patch").to_pylist()
    assert [(p["x_level0_px"], p["y_level0_px"], p["side_level0_px"]) for p in patches] == [
        (0, 0, 256)
    ]
    assert vectors_of(rows, "slide").num_rows == 1


@pytest.mark.parametrize(
    ("name", "reason"), [("unopenable.tiff", "cannot open"), ("unreadable.svs", "cannot read")]
)
def test_bad_slides_leave_nothing_behind(
    shared: Path, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        read_slide(slide_item(shared / SYNTHETIC / name), Context(tmp_path, mpp=0.5))
    assert not list(tmp_path.iterdir())


def test_a_slide_without_tissue_has_a_row_and_no_patch(tmp_path: Path) -> None:
    Image.new("RGB", (900, 700), (244, 244, 243)).save(tmp_path / "S1.png")
    rows = read_slide(slide_item(tmp_path / "S1.png"), Context(tmp_path, mpp=0.5))
    assert slide_row(rows)["tissue_mm2"] == 0.0
    assert {vectors.spec.level: vectors.rows for vectors in rows.vectors} == {
        "patch": 0,
        "nucleus": 0,
    }


def test_a_coarse_slide_is_encoded_at_its_own_mpp_and_has_no_nuclei(
    shared: Path, tmp_path: Path
) -> None:
    item = slide_item(shared / "data/pathology/tiles/target_image.png")
    rows = read_slide(item, Context(tmp_path, mpp=1.0))
    patches = vectors_of(rows, "patch")
    assert patches.num_rows == 9
    assert set(patches["mpp"].to_pylist()) == {1.0}
    assert "nucleus" not in {vectors.spec.level for vectors in rows.vectors}


@pytest.mark.parametrize(
    ("name", "nuclei"),
    [("nuclei_dsb2018/a7f6194ddbea.png", (60, 100)), ("nuclei_consep/test_1_000.jpg", (45, 100))],
)
def test_annotated_tiles_have_about_as_many_nuclei(
    shared: Path, tmp_path: Path, name: str, nuclei: tuple[int, int]
) -> None:
    """83 nuclei were drawn in each by hand; at 0.5 um a pixel they have the usual size."""
    rows = read_slide(slide_item(shared / "data/pathology" / name), Context(tmp_path, mpp=0.5))
    assert nuclei[0] <= vectors_of(rows, "nucleus").num_rows <= nuclei[1]
    assert vectors_of(rows, "patch").num_rows == 1


@pytest.mark.parametrize(("mpp", "farthest_um"), [(0.5, 0.1), (0.17, 0.05)])
def test_nuclei_on_block_borders_are_whole_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mpp: float, farthest_um: float
) -> None:
    """Discs of 10 um on a grid that meets the block borders in all ways."""
    monkeypatch.setattr(slide_nuclei, "CORE_PX", 200)
    step, radius = round(15 / mpp), round(5 / mpp)
    side = 24 * step
    image = Image.new("RGB", (side, side), (225, 180, 210))
    draw = ImageDraw.Draw(image)
    places = [(step // 2 + step * i, step // 2 + step * j) for i in range(24) for j in range(24)]
    for x, y in places:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=NUCLEUS_BLUE)
    image.save(tmp_path / "discs.png")
    rows = read_slide(slide_item(tmp_path / "discs.png"), Context(tmp_path, mpp=mpp))
    nuclei = vectors_of(rows, "nucleus")
    assert nuclei.num_rows == len(places)
    found = np.stack([nuclei["x_level0_px"], nuclei["y_level0_px"]], axis=1)
    distance, nearest = cKDTree(found).query(places)
    assert distance.max() * mpp < farthest_um
    assert len(set(nearest.tolist())) == len(places)
    area_um2 = nuclei["area"].to_numpy() * nuclei["mpp"].to_numpy() ** 2
    assert np.ptp(area_um2) < 0.15 * np.median(area_um2)
    assert nuclei["mpp"].to_numpy() == pytest.approx(max(mpp, 0.25))


def test_reading_again_gives_the_same_rows(shared: Path, tmp_path: Path) -> None:
    item = slide_item(shared / "data/pathology/tiles/histo.jpg")
    context = Context(tmp_path, mpp=0.5)
    first, second = read_slide(item, context), read_slide(item, context)
    for level in ("patch", "slide", "nucleus"):
        assert vectors_of(first, level).equals(vectors_of(second, level))


def test_a_folder_is_planned_slide_by_slide(shared: Path, tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    (slides / "P3").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(slides / "P1.a.png")
    (slides / "P2.mrxs").write_text("")
    (slides / "P2").mkdir()
    (slides / "P2" / "Data0001.dat").write_text("x")
    (slides / "notes.txt").write_text("x")
    (slides / ".hidden.png").write_text("x")
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        shutil.copy(shared / SYNTHETIC / name, slides / "P3" / name)
    plan = plan_slides([slides], patient_of)
    found = {item.key: (item.patient_id, len(item.files)) for item in plan.items}
    series = next(key for key in found if key.startswith("slide:1.3"))
    assert found == {"slide:P1.a": ("P1", 1), "slide:P2": ("P2", 2), series: ("P3", 2)}
    assert [(Path(r.path).name, r.reason[:12]) for r in plan.rejected] == [
        ("notes.txt", "wrong suffix")
    ]


def test_a_slide_of_no_patient_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    item = Item("slide", "slide:a", str(tmp_path / "a.png"), (), None, {"slide_id": "a"})
    with pytest.raises(BadInput, match="patient"):
        read_slide(item, Context(tmp_path, mpp=0.5))


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("P1.second.svs", "P1"),
        ("TCGA-2F-A9KO-01Z-00-DX1.195576CF.svs", "TCGA-2F-A9KO"),
        ("TCGA-2F-A9KO1.svs", "TCGA-2F-A9KO1"),
    ],
)
def test_a_slide_is_of_the_patient_in_its_name(tmp_path: Path, name: str, patient: str) -> None:
    (tmp_path / name).write_text("x")
    assert slide_item(tmp_path / name).patient_id == patient
