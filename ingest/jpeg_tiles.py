"""Regions of a TIFF slide, decoded from its JPEG tiles: the pixels of OpenSlide, which spends five
times as long on composing a region as on decoding it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import BinaryIO

import numpy as np
import openslide
import simplejpeg
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

PLAIN_PYRAMIDS = ("aperio", "generic-tiff")  # other vendors' tiles overlap, or leave gaps
CACHE_BYTES = 16 * 2**20  # of decoded tiles, a level: neighbouring regions share those on a border
_START, _END = b"\xff\xd8", b"\xff\xd9"
# Adobe's marker. The TIFF alone states the colours, and a decoder takes for YCbCr what does not say
# that it is RGB, as Aperio's tiles do not.
_COLOUR = {
    PHOTOMETRIC.RGB: b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0",
    PHOTOMETRIC.YCBCR: b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1",
}


@dataclass(frozen=True)
class _Layout:
    """Where the tiles of one level lie in the file: offset and size of each, (rows, columns)."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: np.ndarray
    sizes: np.ndarray
    header: bytes  # what makes a tile a JPEG of its own


class JpegTiles:
    """One level of a slide. Threads may read at once."""

    def __init__(self, file: BinaryIO, layout: _Layout) -> None:
        self._layout = layout
        cached = max(1, CACHE_BYTES // (3 * layout.tile_width * layout.tile_height))
        self._tile = lru_cache(maxsize=cached)(partial(_decoded, file, layout))

    @property
    def first_size(self) -> tuple[int, int]:
        """Width and height of the first tile, as far as the level reaches."""
        layout = self._layout
        return min(layout.tile_width, layout.width), min(layout.tile_height, layout.height)

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray | None:
        """RGB of a region in pixels of this level, white outside of it: uint8 (height, width, 3).

        None where a tile is missing or damaged: OpenSlide knows what to do then.
        """
        layout = self._layout
        right, bottom = min(x + width, layout.width), min(y + height, layout.height)
        pixels = np.full((height, width, 3), 255, dtype=np.uint8)
        for row in range(max(y, 0) // layout.tile_height, -(-bottom // layout.tile_height)):
            for column in range(max(x, 0) // layout.tile_width, -(-right // layout.tile_width)):
                tile = self._tile(row, column)
                if tile is None:
                    return None
                paste(tile, pixels, column * layout.tile_width - x, row * layout.tile_height - y)
        return pixels


def jpeg_levels(file: BinaryIO, slide: openslide.OpenSlide) -> dict[int, JpegTiles]:
    """The levels that can be read from their JPEG tiles alone, by number.

    Args:
        file: the slide's file, which stays open while the levels are read.
        slide: the same, open for comparison.
    """
    if slide.properties.get(openslide.PROPERTY_NAME_VENDOR) not in PLAIN_PYRAMIDS:
        return {}
    end = os.fstat(file.fileno()).st_size
    levels = {}
    try:
        with tifffile.TiffFile(file) as tiff:
            pages = [p for p in tiff.pages if isinstance(p, tifffile.TiffPage) and p.is_tiled]
            by_size = {(page.imagewidth, page.imagelength): page for page in pages}
            if len(by_size) < len(pages):
                return {}  # planes of a focal stack
            for level, size in enumerate(slide.level_dimensions):
                if size in by_size and _is_rgb_jpeg(by_size[size], end):
                    levels[level] = JpegTiles(file, _layout(by_size[size]))
    except (TypeError, ValueError):  # damaged tags, of which OpenSlide is more forgiving
        return {}
    return {level: tiles for level, tiles in levels.items() if _is_alike(tiles, slide, level)}


def _is_alike(tiles: JpegTiles, slide: openslide.OpenSlide, level: int) -> bool:
    """Whether OpenSlide makes the same of the first tile. A JPEG may contradict the TIFF about its
    colours, and OpenSlide's word holds.
    """
    size = tiles.first_size
    pixels = tiles.read(0, 0, *size)
    if pixels is None:  # nor may OpenSlide meet a damaged tile before it has to: it stops for good
        return False
    try:
        region = slide.read_region((0, 0), level, size)
    except openslide.OpenSlideError:
        return False
    return np.array_equal(pixels, np.asarray(region)[..., :3])


def _is_rgb_jpeg(page: tifffile.TiffPage, end: int) -> bool:
    """Whether each tile is a JPEG of three colours that lies before the file's end."""
    return (
        page.compression == COMPRESSION.JPEG
        and page.photometric in _COLOUR
        and page.planarconfig == PLANARCONFIG.CONTIG
        and (page.samplesperpixel, page.bitspersample) == (3, 8)
        and len(page.dataoffsets) == len(page.databytecounts) == np.prod(_tile_grid(page))
        and all(map(lambda o, s: o + s <= end, page.dataoffsets, page.databytecounts))
    )


def _tile_grid(page: tifffile.TiffPage) -> tuple[int, int]:
    """Rows and columns of tiles."""
    return -(-page.imagelength // page.tilelength), -(-page.imagewidth // page.tilewidth)


def _layout(page: tifffile.TiffPage) -> _Layout:
    tables = page.jpegtables or _START + _END  # those that all tiles share
    return _Layout(
        width=page.imagewidth,
        height=page.imagelength,
        tile_width=page.tilewidth,
        tile_height=page.tilelength,
        offsets=np.reshape(page.dataoffsets, _tile_grid(page)),
        sizes=np.reshape(page.databytecounts, _tile_grid(page)),
        header=tables[: -len(_END)] + _COLOUR[PHOTOMETRIC(page.photometric)],
    )


def _decoded(file: BinaryIO, layout: _Layout, row: int, column: int) -> np.ndarray | None:
    """One tile as far as the level reaches, uint8 (h, w, 3); None if it is missing or damaged."""
    place = row, column
    data = os.pread(file.fileno(), int(layout.sizes[place]), int(layout.offsets[place]))
    tile = np.empty((layout.tile_height, layout.tile_width, 3), dtype=np.uint8)
    try:
        # Strict, as OpenSlide is: what libjpeg only warns of leaves noise in a tile.
        decoded = simplejpeg.decode_jpeg(
            layout.header + data[len(_START) :], buffer=tile, strict=True
        )
    except ValueError:
        return None
    if decoded.shape != tile.shape:
        return None
    top, left = row * layout.tile_height, column * layout.tile_width
    return tile[: layout.height - top, : layout.width - left]


def paste(image: np.ndarray, pixels: np.ndarray, left: int, top: int) -> None:
    """Put `image` into `pixels` at (left, top), which may be negative, as far as it fits."""
    bottom, right = max(0, top + image.shape[0]), max(0, left + image.shape[1])
    target = pixels[max(0, top) : bottom, max(0, left) : right]
    source = image[max(0, -top) :, max(0, -left) :]
    target[:] = source[: target.shape[0], : target.shape[1]]
