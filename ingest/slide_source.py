"""A slide or a tile, opened: its size, its mpp, its levels, and any region as RGB."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import openslide
from PIL import Image, UnidentifiedImageError

from tumorbase.ingest.jpeg_tiles import jpeg_levels, paste
from tumorbase.store.errors import BadInput

# What a slide states outside of these is not believed: a DPI tag of a print, or a slip of units.
MIN_MPP = 0.05
MAX_MPP = 20.0
MAX_TILE_PX = 100_000_000  # a plain image is read whole; larger ones need a pyramid
WHOLE_PIXEL = 1e-3  # by which a region may miss one: less than a grey level
_PNG_DEPTH_AT = 24
_ONE_BYTE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class SlideSource(Protocol):
    """One open slide. Level 0 is the finest; regions are placed in level-0 pixels."""

    path: str
    vendor: str
    mpp: float  # micrometres per level-0 pixel
    width_px: int
    height_px: int
    downsamples: tuple[float, ...]

    def read(
        self, x_level0_px: int, y_level0_px: int, level: int, width: int, height: int
    ) -> np.ndarray:
        """RGB of a region in pixels of `level`, white outside of the slide: uint8 (height, width,
        3).

        Raises:
            BadInput: the file is damaged there.
        """
        ...


@contextmanager
def open_slide(path: str, mpp: float | None) -> Iterator[SlideSource]:
    """The slide or tile at `path`: OpenSlide's formats, else a plain PNG, JPEG or TIFF.

    Args:
        path: the file; for a DICOM WSI any file of its series.
        mpp: for files that state none. One outside of [0.05, 20] is not believed, nor one that
            differs between x and y by more than a tenth, and counts as not stated.

    Raises:
        BadInput: empty or damaged, no image at all, or the mpp is neither stated nor given.
    """
    if Path(path).stat().st_size == 0:
        raise BadInput(path, "the file is empty (0 bytes)")
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError:
        yield _Tile(path, mpp)
        return
    except openslide.OpenSlideError as error:
        raise BadInput(path, f"OpenSlide cannot open it: {error}") from error
    with handle, Path(path).open("rb") as file:
        slide = _Slide(path, handle, file, mpp)
        try:
            yield slide
        finally:
            slide.wait_for_readers()


class _Slide:
    """A slide that OpenSlide reads; JPEG tiles are decoded without it."""

    def __init__(
        self, path: str, handle: openslide.OpenSlide, file: BinaryIO, mpp: float | None
    ) -> None:
        self.path = path
        self.vendor = handle.properties.get(openslide.PROPERTY_NAME_VENDOR, "")
        stated = [
            handle.properties.get(name)
            for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
        ]
        self.mpp = _believed_mpp(path, stated, mpp)
        self.width_px, self.height_px = handle.dimensions
        self.downsamples = tuple(float(d) for d in handle.level_downsamples)
        self._handle = handle
        self._jpeg_levels = jpeg_levels(file, handle)
        self._change = threading.Condition()
        self._readers = 0
        self._is_closed = False

    def read(
        self, x_level0_px: int, y_level0_px: int, level: int, width: int, height: int
    ) -> np.ndarray:
        with self._change:
            if self._is_closed:
                raise ValueError(f"{self.path} is closed")
            self._readers += 1
        try:
            pixels = self._decode(x_level0_px, y_level0_px, level, width, height)
            if pixels is not None:
                return pixels
            region = self._handle.read_region((x_level0_px, y_level0_px), level, (width, height))
        except openslide.OpenSlideError as error:
            raise BadInput(self.path, f"OpenSlide cannot read it: {error}") from error
        finally:
            with self._change:
                self._readers -= 1
                self._change.notify_all()
        return np.asarray(_on_white(region))

    def _decode(
        self, x_level0_px: int, y_level0_px: int, level: int, width: int, height: int
    ) -> np.ndarray | None:
        """The region from its JPEG tiles alone, None if they do not do.

        A level's downsample is no whole number where its size was rounded. What then begins between
        two of its pixels is left to OpenSlide, which blends them.
        """
        x, y = x_level0_px / self.downsamples[level], y_level0_px / self.downsamples[level]
        begins_at_pixel = max(abs(x - round(x)), abs(y - round(y))) < WHOLE_PIXEL
        if level not in self._jpeg_levels or not begins_at_pixel:
            return None
        return self._jpeg_levels[level].read(round(x), round(y), width, height)

    def wait_for_readers(self) -> None:
        """Let threads that still read ahead finish, and others not begin: OpenSlide ends the whole
        process where a slide is closed in the middle of a read.
        """
        with self._change:
            self._is_closed = True
            self._change.wait_for(lambda: self._readers == 0)


class _Tile:
    """A plain image, read whole."""

    vendor = "plain image"
    downsamples: tuple[float, ...] = (1.0,)

    def __init__(self, path: str, mpp: float | None) -> None:
        self.path = path
        self._pixels = np.asarray(_read_tile(path))
        self.mpp = _believed_mpp(path, [], mpp)
        self.height_px, self.width_px = self._pixels.shape[:2]

    def read(
        self, x_level0_px: int, y_level0_px: int, level: int, width: int, height: int
    ) -> np.ndarray:
        pixels = np.full((height, width, 3), 255, dtype=np.uint8)
        paste(self._pixels, pixels, -x_level0_px, -y_level0_px)
        return pixels


def overview(slide: SlideSource, mpp: float, block_px: int = 2048) -> np.ndarray:
    """The whole slide in steps of `overview_step(slide, mpp)` level-0 pixels, uint8 (H, W, 3).

    It is read block by block from the coarsest level that is fine enough, so that a slide of one
    level is never whole in memory. A rest at the right and lower border is a pixel of its own.
    """
    step = overview_step(slide, mpp)
    level = best_level(slide, step)
    height, width = math.ceil(slide.height_px / step), math.ceil(slide.width_px / step)
    out = np.empty((height, width, 3), dtype=np.uint8)
    block = max(1, int(block_px * slide.downsamples[level] / step))
    for top in range(0, height, block):
        for left in range(0, width, block):
            rows, columns = min(block, height - top), min(block, width - left)
            # Not past the border, where OpenSlide's white would dilute the last pixels.
            region = (
                left * step,
                top * step,
                min((left + columns) * step, slide.width_px),
                min((top + rows) * step, slide.height_px),
            )
            out[top : top + rows, left : left + columns] = read_scaled(
                slide, level, region, (columns, rows)
            )
    return out


def overview_step(slide: SlideSource, mpp: float) -> int:
    """Level-0 pixels a pixel of `overview(slide, mpp)`."""
    return max(1, round(mpp / slide.mpp))


def best_level(slide: SlideSource, downsample: float) -> int:
    """The coarsest level that is at least as fine as `downsample`, within a hundredth."""
    fine = [i for i, d in enumerate(slide.downsamples) if d <= downsample * 1.01]
    return max(fine, key=lambda i: slide.downsamples[i], default=0)


def read_scaled(
    slide: SlideSource, level: int, region: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """A region of level-0 pixels (left, top, right, bottom) at `size` (width, height).

    Returns:
        uint8 (height, width, 3), antialiased.
    """
    left, top, right, bottom = region
    downsample = slide.downsamples[level]
    width, height = (right - left) / downsample, (bottom - top) / downsample
    # OpenSlide rounds a level's size: what it states to end here may end a fraction of a pixel on.
    whole = (max(1, round(width)), max(1, round(height)))
    pixels = slide.read(left, top, level, *whole)
    if whole == size:
        return pixels
    box = (0.0, 0.0, min(width, whole[0]), min(height, whole[1]))
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))


def _believed_mpp(path: str, stated: list[str | None], given: float | None) -> float:
    try:
        x, y = (float(value) for value in stated if value is not None)
    except ValueError:
        x = y = math.nan
    if MIN_MPP <= x <= MAX_MPP and MIN_MPP <= y <= MAX_MPP and abs(x - y) <= 0.1 * x:
        return (x + y) / 2.0
    if given is not None:
        return given
    came = ", ".join(str(value) for value in stated if value is not None) or "none"
    reason = f"expected an mpp in [{MIN_MPP}, {MAX_MPP}] um per pixel, got {came}; give it by --mpp"
    raise BadInput(path, reason)


def _read_tile(path: str) -> Image.Image:
    """RGB of a plain image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below
            image = Image.open(path, formats=("PNG", "JPEG", "TIFF"))
    except UnidentifiedImageError as error:
        reason = "neither a slide that OpenSlide knows nor a PNG, JPEG or TIFF image"
        raise BadInput(path, reason) from error
    except Image.DecompressionBombError as error:
        raise BadInput(path, f"too large for a plain image: {error}") from error
    with image:
        if image.width * image.height > MAX_TILE_PX:
            reason = (
                f"{image.width} x {image.height} is too large for a plain image: it needs levels"
            )
            raise BadInput(path, reason)
        if image.mode not in _ONE_BYTE_MODES or _is_deep_png(path, image):
            raise BadInput(path, f"expected 8 bits a channel, got more ({image.mode})")
        try:
            return _on_white(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise BadInput(path, f"the image is damaged: {error}") from error


def _is_deep_png(path: str, image: Image.Image) -> bool:
    """Whether it is a PNG of 16 bits a channel, which Pillow cuts to 8 without a word."""
    if image.format != "PNG":
        return False
    with Path(path).open("rb") as file:
        return file.read(_PNG_DEPTH_AT + 1)[_PNG_DEPTH_AT] == 16


def _on_white(image: Image.Image) -> Image.Image:
    """RGB, with what is transparent on white."""
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            canvas = Image.new("RGB", image.size, "white")
            canvas.paste(image, mask=image.getchannel("A"))
            return canvas
    return image.convert("RGB")
