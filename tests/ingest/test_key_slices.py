"""DeepLesion key slices: lesions encoded from pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tumorbase.ingest.item import Context, Item
from tumorbase.ingest.key_slices import (
    TrueBox,
    crop_lesion,
    plan_key_slices,
    read_boxes,
    read_key_slice,
    read_slice_hu,
)
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

NAME = "000009_04_01_060"


@pytest.fixture
def folder(shared) -> Path:
    """The 35 real key slices."""
    return shared / "data/deeplesion/key_slices"


def read(image: Path, staging: Path):
    item = Item(
        "key_slice", "key-slice:x", str(image), (str(image), str(image.with_suffix(".tru")))
    )
    return read_key_slice(item, Context(staging))


def disc(tmp_path: Path, true_boxes: str) -> Path:
    """A slice: a body of 40 HU in air, in it a disc of 10 px radius and 200 HU at (150, 120)."""
    y, x = np.mgrid[:256, :256]
    image_hu = np.where((y - 128) ** 2 + (x - 128) ** 2 < 100**2, 40.0, -1000.0)
    image_hu[(y - 150) ** 2 + (x - 120) ** 2 <= 10**2] = 200.0
    grey = np.round((image_hu + 1024) * 255 / 4095).astype(np.uint8)
    path = tmp_path / "000001_01_01_001.jpg"
    Image.fromarray(grey).save(path, quality=95)
    path.with_suffix(".tru").write_text(true_boxes)
    return path


def test_all_35_key_slices_are_encoded_from_pixels(folder, tmp_path) -> None:
    planned = plan_key_slices(sorted(folder.iterdir()))
    assert planned.rejected == ()
    vectors, lesions = [], 0
    for item in planned.items:
        rows = read_key_slice(item, Context(tmp_path))
        for name, table in rows.tables.items():
            assert table.schema == METADATA[name]
        lesions += rows.tables["lesion"].num_rows
        with pa.OSFile(rows.vectors[0].path) as source:
            vectors += pa.ipc.open_stream(source).read_all()["vector"].to_pylist()
    assert len(planned.items) == 35
    assert (
        len(vectors)
        == lesions
        == sum(len(path.read_text().split("\n")) - 1 for path in folder.glob("*.tru"))
    )
    assert np.isfinite(vectors).all()
    assert len(np.unique(np.round(vectors, 6), axis=0)) == lesions


def test_ids_and_region_come_from_name_and_official_type(folder, tmp_path) -> None:
    rows = read(folder / f"{NAME}.jpg", tmp_path)
    (lesion,) = rows.tables["lesion"].to_pylist()
    assert lesion["lesion_id"] == f"{NAME}/1"
    assert lesion["patient_id"] == "000009"
    assert lesion["study_id"] == "000009_04"
    assert lesion["region"] == "abdomen"  # official type 2; the derived tables say 1
    assert lesion["x_mm"] is None  # no spacing is stated


def test_box_is_that_of_the_annotation_table(folder) -> None:
    """fm_annotations gives [307, 216, 330, 237] for the lesion, the floor of this box counted from
    1.
    """
    (box,) = read_boxes(str(folder / f"{NAME}.tru"), (512, 512))
    corners = np.array([box.x_min_px, box.y_min_px, box.x_max_px, box.y_max_px])
    np.testing.assert_array_equal(np.floor(corners + 1.01), [307, 216, 330, 237])


def test_grey_values_are_hu(folder, tmp_path) -> None:
    image_hu = read_slice_hu(str(disc(tmp_path, "")))
    assert image_hu[150, 120] == pytest.approx(200, abs=20)
    assert image_hu[60, 128] == pytest.approx(40, abs=20)
    assert image_hu[5, 5] == pytest.approx(-1000, abs=30)
    real = read_slice_hu(str(folder / f"{NAME}.jpg"))
    assert real.shape == (512, 512)
    assert -1024 <= real.min() < -900
    assert 0 < np.median(real[200:300, 200:300]) < 200


def test_mask_is_an_ellipse_in_the_box_without_its_padding(tmp_path) -> None:
    image_hu = read_slice_hu(str(disc(tmp_path, "")))
    box = TrueBox("liver", 150 - 15.5, 120 - 15.5, 150 + 15.5, 120 + 15.5)
    crop = crop_lesion(image_hu, box)
    assert crop.mask.shape == crop.image.shape
    assert crop.mask.shape[0] == 1
    assert crop.mask.sum() == pytest.approx(np.pi * 10.5**2, rel=0.03)
    assert crop.image[crop.mask].mean() == pytest.approx(200, abs=20)
    assert crop.location == pytest.approx(((120 - 28) / 199, (150 - 28) / 199, 0.5), abs=0.02)


def test_lesion_at_the_border_keeps_its_mask_in_the_image() -> None:
    crop = crop_lesion(np.zeros((64, 64), np.float32), TrueBox("lung", 0, 50, 20, 64))
    assert crop.image.shape == crop.mask.shape
    assert crop.mask.any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a line for each lesion, got none"),
        ("1 0.1 0.2 0.3\n", "line 1: expected 5 numbers"),
        ("1 0.1 0.2 0.3 x\n", "line 1: expected 5 numbers"),
        ("0 0.1 0.2 0.3 0.4\n", "line 1: type must be 1 .. 8 or -1, got 0"),
        ("1 0.3 0.2 0.1 0.4\n", r"line 1: expected a box within \[0, 1\]"),
        ("1 0.1 0.2 0.3 0.4\n\n2 0.1 0.2 0.3 1.4\n", r"line 3: expected a box within \[0, 1\]"),
        ("1 0.1 nan 0.3 0.4\n", "line 1: expected a box within"),
    ],
)
def test_boxes_that_are_none_are_refused(tmp_path, text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read(disc(tmp_path, text), tmp_path)


def test_truncated_image_is_refused(tmp_path) -> None:
    path = disc(tmp_path, "1 0.1 0.2 0.3 0.4\n")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(BadInput, match="cannot be read as an image"):
        read(path, tmp_path)


def test_file_without_its_other_half_is_rejected(tmp_path) -> None:
    image = disc(tmp_path, "")
    image.with_suffix(".tru").unlink()
    lone = tmp_path / "000002_01_01_001.tru"
    lone.write_text("")
    odd = tmp_path / "odd.jpg"
    odd.touch()
    odd.with_suffix(".tru").touch()
    planned = plan_key_slices([image, lone, odd])
    assert planned.items == ()
    assert [found.reason for found in planned.rejected] == [
        "expected 000001_01_01_001.tru beside it, there is none",
        "expected 000002_01_01_001.jpg beside it, there is none",
        "expected PATIENT_STUDY_SERIES_SLICE as in 000009_04_01_060.jpg",
    ]
