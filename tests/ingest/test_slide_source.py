"""Slides and tiles open alike; what cannot be read says why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tumorbase.ingest.slide_source import (
    best_level,
    open_slide,
    overview,
    overview_step,
    read_scaled,
)
from tumorbase.store.errors import BadInput


def write_pyramid(path: Path, rgb: np.ndarray, mpp: float | None, levels: int = 3) -> None:
    """A tiled pyramid, each level every second pixel of the one before."""
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp)}
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            writer.write(
                rgb[:: 2**level, :: 2**level],
                tile=(64, 64),
                photometric="rgb",
                subfiletype=int(level > 0),
                resolutionunit="CENTIMETER" if mpp else None,
                metadata=None,
                **resolution,
            )


def _gradient(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards."""
    y, x = np.indices((height, width))
    red, green = 255.0 * x / width, 255.0 * y / height
    return np.stack([red, green, np.full(x.shape, 90.0)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "vendor", "mpp", "size"),
    [
        ("wsi/cmu-1-small-region.svs", "aperio", 0.499, (2220, 2967)),
        ("wsi/test3-TRITC-2-560.ndpi", "hamamatsu", 0.2282, (3968, 4864)),
        ("wsi_synthetic/boxes_0.dcm", "dicom", 0.499, (16, 16)),
        ("wsi_synthetic/small.svs", "aperio", 0.499, (16, 16)),
    ],
)
def test_slides_state_their_mpp_and_a_given_one_does_not_replace_it(
    shared: Path, name: str, vendor: str, mpp: float, size: tuple[int, int]
) -> None:
    for given in (None, 3.0):
        with open_slide(str(shared / "data/pathology" / name), given) as slide:
            assert slide.vendor == vendor
            assert slide.mpp == pytest.approx(mpp, rel=1e-3)
            assert (slide.width_px, slide.height_px) == size
            assert slide.read(0, 0, 0, 8, 6).shape == (6, 8, 3)


def test_a_dpi_tag_of_a_print_is_no_mpp(shared: Path) -> None:
    path = str(shared / "data/pathology/wsi_synthetic/boxes.tiff")
    with pytest.raises(BadInput, match=r"got 352\.77.*--mpp"), open_slide(path, None):
        pass
    with open_slide(path, 0.5) as slide:
        assert slide.mpp == 0.5
        assert len(slide.downsamples) == 4


@pytest.mark.parametrize("mpp", [0.01, 1e4])
def test_an_absurd_mpp_counts_as_none(tmp_path: Path, mpp: float) -> None:
    write_pyramid(tmp_path / "a.tiff", _gradient(256, 256), mpp)
    with pytest.raises(BadInput, match="--mpp"), open_slide(str(tmp_path / "a.tiff"), None):
        pass


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("LA", (100, 0), (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_tiles_are_rgb_on_white(tmp_path: Path, mode: str, pixel, expected, suffix: str) -> None:
    path = tmp_path / f"tile.{suffix}"
    Image.new(mode, (20, 10), pixel).save(path)
    with open_slide(str(path), 0.5) as slide:
        rgb = slide.read(0, 0, 0, 20, 10)
        outside = slide.read(15, 5, 0, 20, 10)
    assert (slide.mpp, slide.vendor) == (0.5, "plain image")
    assert (rgb == expected).all()
    assert (outside[:5, :5] == expected).all()
    assert (outside[5:] == 255).all()


def test_a_tile_without_mpp_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "tile.png")
    with (
        pytest.raises(BadInput, match="got none; give it by --mpp"),
        open_slide(str(tmp_path / "tile.png"), None),
    ):
        pass


def _write_text(path: Path) -> None:
    path.write_text("this is no slide")


def _write_nothing(path: Path) -> None:
    path.touch()


def _write_truncated(path: Path) -> None:
    Image.fromarray(_gradient(200, 200)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:300])


def _write_deep_grey(path: Path) -> None:
    Image.fromarray(np.full((20, 20), 3000, np.uint16)).save(path, "PNG")


def _write_deep_tiff(path: Path) -> None:
    tifffile.imwrite(path, np.full((20, 20), 3000, np.uint16))


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (_write_text, "a.svs", "neither a slide"),
        (_write_text, "a.png", "neither a slide"),
        (_write_nothing, "a.svs", "0 bytes"),
        (_write_truncated, "a.png", "damaged"),
        (_write_deep_grey, "a.png", "8 bits"),
        (_write_deep_tiff, "a.tif", "8 bits"),
    ],
)
def test_bad_files_say_why(tmp_path: Path, write, name: str, reason: str) -> None:
    write(tmp_path / name)
    with pytest.raises(BadInput, match=reason), open_slide(str(tmp_path / name), 0.5):
        pass


def test_a_slide_that_cannot_be_opened_says_why(shared: Path) -> None:
    path = str(shared / "data/pathology/wsi_synthetic/unopenable.tiff")
    with (
        pytest.raises(BadInput, match="cannot open it: Unsupported TIFF compression: 52479"),
        open_slide(path, 0.5),
    ):
        pass


def test_a_slide_that_cannot_be_read_says_why(shared: Path) -> None:
    path = str(shared / "data/pathology/wsi_synthetic/unreadable.svs")
    with (
        open_slide(path, None) as slide,
        pytest.raises(BadInput, match="cannot read it: Bogus marker length"),
    ):
        slide.read(0, 0, 0, 16, 16)


def test_an_overview_in_blocks_is_the_slide_shrunk(tmp_path: Path) -> None:
    rgb = _gradient(700, 1000)
    write_pyramid(tmp_path / "a.tiff", rgb, 0.5, levels=1)
    with open_slide(str(tmp_path / "a.tiff"), None) as slide:
        assert overview_step(slide, 4.0) == 8
        shrunk = overview(slide, 4.0, block_px=128)
        whole = overview(slide, 4.0)
    assert shrunk.shape == (88, 125, 3)
    expected = rgb[4::8, 4::8].astype(int)
    assert np.abs(shrunk[:87].astype(int) - expected[:87]).max() <= 4
    assert np.abs(shrunk.astype(int) - whole).max() <= 4


def test_the_level_read_is_never_coarser_than_asked(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.tiff", _gradient(512, 512), 0.25)
    with open_slide(str(tmp_path / "a.tiff"), None) as slide:
        assert [best_level(slide, d) for d in (1.0, 1.9, 2.0, 3.0, 4.0, 50.0)] == [0, 0, 1, 1, 2, 2]
        scaled = read_scaled(slide, 1, (128, 256, 384, 512), (64, 64))
    middle = scaled[32, 32].astype(int)
    assert np.abs(middle - (127, 191, 90)).max() <= 3


def test_a_slide_closes_when_those_who_read_ahead_are_done(shared: Path) -> None:
    """OpenSlide aborts the process where a slide is closed in the middle of a read."""
    path = str(shared / "data/pathology/wsi/cmu-1-small-region.svs")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            with open_slide(path, None) as slide:
                reads = [pool.submit(slide.read, 0, 0, 0, 1000, 1000) for _ in range(8)]
                reads[0].result()
            errors = {type(read.exception()) for read in reads}
            assert errors <= {type(None), ValueError}
    with pytest.raises(ValueError, match="is closed"):
        slide.read(0, 0, 0, 8, 8)
