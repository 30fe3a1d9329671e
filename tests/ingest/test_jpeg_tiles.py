"""JPEG tiles give the pixels of OpenSlide, and leave to it what they cannot give."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from tumorbase.ingest.jpeg_tiles import jpeg_levels, paste
from tumorbase.ingest.slide_source import open_slide
from tumorbase.store.errors import BadInput

TILE = 64


def write_pyramid(path: Path, height: int, width: int, colours: str, subsampling: int = 0) -> None:
    """Three levels of noise in JPEG tiles, each level half of the one before.

    tifffile takes tiles that are compressed already, but JPEG only with a further package: the tags
    are put right afterwards.
    """
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    rgb = Image.fromarray(noise.astype(np.uint8)).resize((width, height))
    with tifffile.TiffWriter(path) as tiff:
        for level in range(3):
            image = np.asarray(rgb.resize((width >> level, height >> level)))
            tiff.write(
                _tiles(image, keep_rgb=colours == "rgb", subsampling=subsampling),
                shape=image.shape,
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(level > 0),
                resolution=(2e4, 2e4),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.pages:
            page.tags["Compression"].overwrite(7)
            page.tags["PhotometricInterpretation"].overwrite(2 if colours == "rgb" else 6)


def _tiles(image: np.ndarray, **options) -> Iterator[bytes]:
    """JPEG of each tile, row by row, filled up at the border by the edge."""
    height, width = (-length % TILE for length in image.shape[:2])
    padded = np.pad(image, ((0, height), (0, width), (0, 0)), mode="edge")
    for top in range(0, padded.shape[0], TILE):
        for left in range(0, padded.shape[1], TILE):
            jpeg = io.BytesIO()
            tile = Image.fromarray(padded[top : top + TILE, left : left + TILE])
            tile.save(jpeg, "JPEG", quality=90, **options)
            yield jpeg.getvalue()


def overwrite_tags(path: Path, page: int, **values) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in values.items():
            tiff.pages[page].tags[name].overwrite(value)


def damage_tile(path: Path, index: int) -> None:
    """End one tile of level 0 in its middle."""
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[index], tiff.pages[0].databytecounts[index]
    with path.open("r+b") as file:
        file.seek(start + size // 2)
        file.write(b"\xff\xd9")


def levels_of(path: Path) -> list[int]:
    with openslide.OpenSlide(path) as slide, path.open("rb") as file:
        return sorted(jpeg_levels(file, slide))


def assert_openslide_reads_the_same(path: Path, count: int) -> None:
    """Of regions at random places, some reaching over the border, bit by bit."""
    rng = np.random.default_rng(0)
    with openslide.OpenSlide(path) as peer, open_slide(str(path), None) as slide:
        for level in [*range(len(slide.downsamples))] * count:
            x, y = (int(v) for v in rng.integers(-80, (slide.width_px, slide.height_px)))
            width, height = (int(v) for v in rng.integers(1, 400, 2))
            region = peer.read_region((x, y), level, (width, height))
            expected = Image.new("RGBA", region.size, "white")
            expected.alpha_composite(region)
            found = slide.read(x, y, level, width, height)
            np.testing.assert_array_equal(found, np.asarray(expected)[..., :3])


@pytest.mark.parametrize(
    ("colours", "subsampling"), [("ycbcr", 0), ("ycbcr", 1), ("ycbcr", 2), ("rgb", 0)]
)
@pytest.mark.parametrize("size", [(320, 512), (301, 499)])  # downsamples of 2 and 4, or of about
def test_regions_of_a_jpeg_pyramid_are_those_of_openslide(
    tmp_path: Path, colours: str, subsampling: int, size: tuple[int, int]
) -> None:
    write_pyramid(tmp_path / "a.tiff", *size, colours, subsampling)
    assert levels_of(tmp_path / "a.tiff") == [0, 1, 2]
    assert_openslide_reads_the_same(tmp_path / "a.tiff", 10)


def test_regions_of_an_aperio_slide_are_those_of_openslide(shared: Path) -> None:
    path = shared / "data/pathology/wsi/cmu-1-small-region.svs"
    assert levels_of(path) == [0]
    assert_openslide_reads_the_same(path, 20)


def test_openslide_has_its_way_where_tiff_and_jpeg_contradict_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    write_pyramid(path, 320, 512, "ycbcr")
    overwrite_tags(path, 0, PhotometricInterpretation=2)
    assert levels_of(path) == [1, 2]
    assert_openslide_reads_the_same(path, 5)


def test_levels_of_other_compressions_and_vendors_are_left_to_openslide(shared: Path) -> None:
    for name in ("wsi_synthetic/boxes.tiff", "wsi_synthetic/boxes_0.dcm"):
        assert levels_of(shared / "data/pathology" / name) == []
    assert levels_of(shared / "data/pathology/wsi/test3-TRITC-2-560.ndpi") == []


def test_a_damaged_tile_is_bad_input_only_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    write_pyramid(path, 320, 512, "ycbcr")
    damage_tile(path, 9)  # the second tile of the second row
    with open_slide(str(path), None) as slide:
        assert slide.read(0, 0, 0, 512, TILE).shape == (TILE, 512, 3)
        assert slide.read(2 * TILE, TILE, 0, TILE, TILE).shape == (TILE, TILE, 3)
        with pytest.raises(BadInput, match=r"OpenSlide cannot read it: .*JPEG"):
            slide.read(0, 0, 0, 512, 2 * TILE)


def test_a_slide_with_a_damaged_first_tile_is_read_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    write_pyramid(path, 320, 512, "ycbcr")
    damage_tile(path, 0)
    with open_slide(str(path), None) as slide:
        assert slide.read(TILE, 0, 0, TILE, TILE).shape == (TILE, TILE, 3)
        with pytest.raises(BadInput, match="cannot read it"):
            slide.read(0, 0, 0, TILE, TILE)


def test_a_missing_tile_is_what_openslide_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    write_pyramid(path, 320, 512, "ycbcr")
    with tifffile.TiffFile(path) as tiff:
        sizes = list(tiff.pages[0].databytecounts)
    sizes[9] = 0
    overwrite_tags(path, 0, TileByteCounts=sizes)
    assert levels_of(path) == [0, 1, 2]
    assert_openslide_reads_the_same(path, 10)


def test_tiles_past_the_end_of_the_file_are_left_to_openslide(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    write_pyramid(path, 320, 512, "ycbcr")
    overwrite_tags(path, 0, TileByteCounts=[2**31] * 40)
    assert levels_of(path) == [1, 2]


def test_threads_read_the_same_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    write_pyramid(path, 640, 640, "ycbcr")
    places = [(x, y) for x in range(0, 600, 50) for y in range(0, 600, 50)]
    with openslide.OpenSlide(path) as slide, path.open("rb") as file:
        tiles = jpeg_levels(file, slide)[0]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda place: tiles.read(*place, 40, 40), places))
        whole = tiles.read(0, 0, 640, 640)
    for (x, y), pixels in zip(places, found, strict=True):
        np.testing.assert_array_equal(pixels, whole[y : y + 40, x : x + 40])


def test_an_image_is_pasted_as_far_as_it_fits() -> None:
    image = np.arange(1, 13).reshape(3, 4)
    for left in range(-8, 9):
        for top in range(-8, 9):
            pixels = np.zeros((5, 6), dtype=int)
            paste(image, pixels, left, top)
            wide = np.zeros((25, 26), dtype=int)
            wide[10 + top : 13 + top, 10 + left : 14 + left] = image
            np.testing.assert_array_equal(pixels, wide[10:15, 10:16])
