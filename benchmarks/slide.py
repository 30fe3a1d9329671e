"""Patches a second from slide file to staged vectors, beside the encoder's own rate on patches in
memory, and peak memory at 1x and 16x the slide's area.

    python benchmarks/slide.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import openslide
from PIL import Image

from tumorbase.models.encoders import Encoder

if TYPE_CHECKING:
    from tumorbase.ingest.item import Context

SLIDE = "data/pathology/wsi/cmu-1-small-region.svs"
TILE_PX = 256
SOURCE_MPP = 0.499
ROUNDS = 5


@dataclass(frozen=True)
class Measured:
    """One slide of `sides` x `sides` copies of the source.

    `seconds` are of the whole slide without its nuclei, `ratios` patches a second end to end by
    those of the encoder alone, of each round; other figures are medians of the rounds. The peak of
    memory is that of the first.
    """

    sides: int
    megapixels: float
    patches: int
    seconds: float
    patches_per_second: float
    encoder_patches_per_second: float
    ratio: float
    ratios: tuple[float, ...]
    peak_mib: float


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, default=default_slide())
    parser.add_argument("--sides", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    # In a fresh process: peak memory is of a process and never falls.
    spawn = multiprocessing.get_context("spawn")
    for sides in options.sides:
        with pyramid(options.slide, sides) as path, spawn.Pool(1) as pool:
            print(json.dumps(asdict(pool.apply(measure, (path, sides)))), flush=True)


def default_slide() -> Path:
    """The real slide that is copied, in $TUMORBASE_SHARED or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("TUMORBASE_SHARED", beside)) / SLIDE


@contextmanager
def pyramid(slide: Path, sides: int) -> Iterator[Path]:
    """A pyramid of `sides` x `sides` copies, in a folder that goes afterwards; written in a process
    of its own, whose memory is not that of what is measured.
    """
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pyramid.tiff")
        with spawn.Pool(1) as pool:
            pool.apply(write_pyramid, (slide, path, sides))
        yield path


def write_pyramid(source: Path, path: Path, sides: int) -> None:
    """A pyramid of `sides` x `sides` copies of the source's level 0, in JPEG tiles of 256 px."""
    with openslide.OpenSlide(source) as slide:
        region = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    level = np.tile(np.asarray(region), (sides, sides, 1))
    mpp = SOURCE_MPP
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        link = 4  # where the offset of the next directory is written
        while min(level.shape[:2]) >= TILE_PX:
            link = _write_level(file, level, mpp, link)
            level, mpp = level[::2, ::2], 2.0 * mpp


def _write_level(file: BinaryIO, level: np.ndarray, mpp: float, link: int) -> int:
    """One level as a TIFF directory (TIFF 6.0, sections 2, 15 and 22): where the next one's offset
    is to be written. tifffile has no JPEG without a further package.
    """
    height, width = level.shape[:2]
    offsets, sizes = [], []
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            tile = Image.new("RGB", (TILE_PX, TILE_PX))
            tile.paste(Image.fromarray(level[top : top + TILE_PX, left : left + TILE_PX]))
            offsets.append(file.tell())
            tile.save(file, "JPEG", quality=85, subsampling=0)
            sizes.append(file.tell() - offsets[-1])
    resolution = _write_longs(file, [round(1e7 / mpp), 1000])
    count = len(offsets)
    inline = count == 1
    tags = [
        (254, 4, 1, int(mpp > SOURCE_MPP)),  # NewSubfileType: a reduced image
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, _write_shorts(file, [8, 8, 8])),
        (259, 3, 1, 7),  # JPEG
        (262, 3, 1, 6),  # YCbCr
        (277, 3, 1, 3),
        (282, 5, 1, resolution),
        (283, 5, 1, resolution),
        (296, 3, 1, 3),  # per centimetre
        (322, 3, 1, TILE_PX),
        (323, 3, 1, TILE_PX),
        (324, 4, count, offsets[0] if inline else _write_longs(file, offsets)),
        (325, 4, count, sizes[0] if inline else _write_longs(file, sizes)),
        (530, 3, 2, 1 | 1 << 16),  # no subsampling
    ]
    start = file.tell()
    file.write(struct.pack("<H", len(tags)))
    for tag in tags:
        file.write(struct.pack("<HHII", *tag))
    following = file.tell()
    file.write(struct.pack("<I", 0))
    file.seek(link)
    file.write(struct.pack("<I", start))
    file.seek(0, 2)
    return following


def _write_longs(file: BinaryIO, values: list[int]) -> int:
    start = file.tell()
    file.write(struct.pack(f"<{len(values)}I", *values))
    return start


def _write_shorts(file: BinaryIO, values: list[int]) -> int:
    start = file.tell()
    file.write(struct.pack(f"<{len(values)}H", *values))
    return start


def measure(path: Path, sides: int) -> Measured:
    """Look for tissue, read, encode and stage the patches of one slide, beside encoding alone."""
    # Heavy libraries are loaded in the measured process only.
    from tumorbase.ingest.chosen_encoders import encoders_of
    from tumorbase.ingest.item import Context
    from tumorbase.ingest.slide_source import open_slide

    context = Context(path.parent)
    (encoder,) = encoders_of(context, "patch")
    _end_to_end(path, context, encoder)  # loads and warms up
    peak = _peak_mib()
    batches = _in_memory(path, context)
    rounds = []
    for _ in range(ROUNDS):
        patches, seconds = _end_to_end(path, context, encoder)
        rounds.append((seconds, patches / seconds, _encoder_rate(encoder, batches)))
    with open_slide(str(path), None) as slide:
        megapixels = slide.width_px * slide.height_px / 1e6
    seconds, rate, encoder_rate = (round(median(values), 3) for values in zip(*rounds, strict=True))
    ratios = sorted(round(rate / encoder_rate, 3) for _, rate, encoder_rate in rounds)
    return Measured(
        sides,
        megapixels,
        patches,
        seconds,
        rate,
        encoder_rate,
        median(ratios),
        tuple(ratios),
        peak,
    )


def _end_to_end(path: Path, context: Context, encoder: Encoder) -> tuple[int, float]:
    """Patches and seconds, from opening the slide to the staged file of their vectors."""
    from tumorbase.ingest.patches import patch_grid
    from tumorbase.ingest.slide_source import open_slide
    from tumorbase.ingest.slide_tissue import look_for_tissue
    from tumorbase.ingest.slides import stage_patches

    ids = {"slide_id": path.stem, "patient_id": "P1"}
    seconds_spent = {"read": 0.0, "encode": 0.0}
    started = perf_counter()
    with open_slide(str(path), None) as slide:
        grid = patch_grid(slide, context.patches)
        tissue = look_for_tissue(slide)
        staged = stage_patches(slide, grid, tissue, encoder, ids, context, seconds_spent)
    return staged[0].rows, perf_counter() - started


def _in_memory(path: Path, context: Context) -> list[np.ndarray]:
    """Patches with tissue of the slide's first blocks."""
    from tumorbase.ingest.patches import (
        chosen_patches,
        encode_patches,
        patch_grid,
        tissue_fractions,
    )
    from tumorbase.ingest.slide_source import open_slide
    from tumorbase.ingest.slide_tissue import look_for_tissue

    with open_slide(str(path), None) as slide:
        grid = patch_grid(slide, context.patches)
        tissue = look_for_tissue(slide)
        chosen = chosen_patches(grid, tissue_fractions(grid, tissue.mask, tissue.step_px))
        blocks = encode_patches(slide, grid, chosen, lambda pixels: pixels)
        return [block.vectors for block in islice(blocks, 8)]


def _encoder_rate(encoder: Encoder, batches: list[np.ndarray]) -> float:
    """Patches a second of the encoder in one thread."""
    started = perf_counter()
    for batch in batches:
        encoder.encode(cast(Sequence[Any], batch))
    return sum(map(len, batches)) / (perf_counter() - started)


def _peak_mib() -> float:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    main()
