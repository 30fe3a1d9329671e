"""Patches a second from slide files to staged vectors, by the rate of a device that works beside
the processor, as a GPU does: a network that sleeps, one batch after the other.

    python benchmarks/device_overlap.py

A line of JSON for each rate of the device. Workers read, prepare and write; one process has the
device, or with --workers 1 the worker itself.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep

import torch
from slide import default_slide, pyramid
from torch import Tensor, nn

from tumorbase.ingest.device_process import DeviceProcess
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.reading import Pending, read_pending
from tumorbase.models.encoders import ENCODERS, EncoderEntry, EncoderSpec, Runtime
from tumorbase.models.network_encoder import NetworkEncoder
from tumorbase.models.patch_encoders import BATCH_SIZE
from tumorbase.models.patch_tower import IMAGENET_MEAN, IMAGENET_STD, PatchPreprocessing

RATE_VARIABLE = "TUMORBASE_DEVICE_RATE"  # patches a second
LOG_VARIABLE = "TUMORBASE_DEVICE_LOG"  # file with the size of each batch, and when it began
DIM = 8


@dataclass(frozen=True)
class Measured:
    """One rate of the device, from its first batch to the last slide's rows."""

    device_patches_per_second: float
    workers: int
    patches: int
    patches_a_batch: float
    patches_per_second: float
    ratio: float


class Device(nn.Module):
    """Takes its time for each patch and leaves the processor alone; one batch at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.is_free = threading.Lock()

    def forward(self, pixels: Tensor) -> Tensor:
        """Some numbers of the patches, (batch, `DIM`), from uint8 (batch, H, W, 3)."""
        with self.is_free:
            with Path(os.environ[LOG_VARIABLE]).open("a") as log:
                log.write(f"{len(pixels)} {perf_counter()}\n")
            sleep(len(pixels) / float(os.environ[RATE_VARIABLE]))
        return pixels[:, 0, :DIM, 0].float() + 1.0


def device_encoder(name: str, runtime: Runtime) -> NetworkEncoder:
    """The encoder of `Device`; patches are prepared as for ImageNet's networks of 224 px."""
    preprocessing = PatchPreprocessing(224, 224, IMAGENET_MEAN, IMAGENET_STD, "bicubic")
    return NetworkEncoder(
        EncoderSpec(name, "1", "patch", DIM, "", "{}"),
        Device,
        lambda batch: (preprocessing.cut(batch),),  # type: ignore[arg-type]
        runtime,
        BATCH_SIZE["cuda"],
    )


# Processes that are started import this file too, by the name that `__name__` is there.
ENCODERS["device"] = EncoderEntry("patch", f"{__name__}:device_encoder", weights=("none",))


def main() -> None:
    """Print one JSON document for each rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, default=default_slide())
    parser.add_argument("--sides", type=int, default=3, help="copies of the slide a side")
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[50.0, 100.0, 200.0])
    options = parser.parse_args()
    with pyramid(options.slide, options.sides) as path:
        for rate in options.rates:
            measured = measure(path, rate, options.slides, options.workers)
            print(json.dumps(asdict(measured)), flush=True)


def measure(path: Path, rate: float, slides: int, workers: int) -> Measured:
    """The slide at `path`, read and encoded `slides` times by so many workers."""
    log = path.with_suffix(f".{rate}")
    os.environ |= {RATE_VARIABLE: str(rate), LOG_VARIABLE: str(log)}
    torch.set_num_threads(1)
    if workers == 1:
        ended = _read(path, slides, workers, Runtime())
    else:
        with DeviceProcess(["device"], Runtime()) as process:
            ended = _read(path, slides, workers, process.runtime)
    sizes, starts = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    patches = sum(map(int, sizes))
    per_second = patches / (ended - float(starts[0]))
    return Measured(
        rate,
        workers,
        patches,
        round(patches / len(sizes), 1),
        round(per_second, 1),
        round(per_second / rate, 3),
    )


def _read(path: Path, slides: int, workers: int, runtime: Runtime) -> float:
    """When the last rows came, by the clock that all processes share."""
    context = Context(path.parent, ("device",), runtime)
    for _, rows in read_pending(_pending(path, slides, context), workers, None):
        assert isinstance(rows, ItemRows), rows
        ended = perf_counter()
    return ended


def _pending(path: Path, slides: int, context: Context) -> Iterator[Pending]:
    for number in range(slides):
        details = {"slide_id": f"{path.stem}{number}"}
        item = Item("slide", f"slide:{number}", str(path), (str(path),), "P1", details)
        yield Pending(item, "", context)


if __name__ == "__main__":
    main()
