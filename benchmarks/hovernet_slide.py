"""Seconds a mm2 of tissue of HoVer-Net on a slide of 0.5 um a pixel, from its file to rows in the
store, in parts: read, network, nuclei (post-processing, shapes, types, vectors), write.

    python benchmarks/hovernet_slide.py
    python benchmarks/hovernet_slide.py --simulated 1.8

The network's weights are random, and its maps are replaced by those of dense real nuclei (CoNSeP),
so that as much is to be done with them as with trained weights. Parts overlap: where they add up to
more than the whole, reading and post-processing hide behind the network.

With `--simulated S` there is no network: what stands for it sleeps S seconds for each mm2 of its
windows, and leaves the processor alone as a GPU does. `network_share` is the share of the time,
from its first window to the last row, in which it was at work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
import openslide
import torch
from hovernet_post import dense_tile, predicted_maps
from slide import write_pyramid

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.models import hovernet_encoder
from tumorbase.models.hovernet import FEATURE_CHANNELS, MODES
from tumorbase.models.hovernet_encoder import CELL_PX, MPP, HoVerNetEncoder
from tumorbase.models.network_encoder import NetworkEncoder
from tumorbase.models.networks import build
from tumorbase.models.published import PUBLISHED
from tumorbase.store.store import Store

SLIDE = "data/pathology/wsi/cmu-1-small-region.svs"
SLIDE_MPP = 0.499
PARTS = {"read": "read", "network": "network", "nuclei": "nuclei", "commit": "write"}


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).resolve().parents[2] / "shared"
    default = Path(os.environ.get("TUMORBASE_SHARED", beside))
    cuda = torch.cuda.is_available()
    parser.add_argument("--shared", type=Path, default=default)
    parser.add_argument("--encoder", default="hovernet-pannuke")
    parser.add_argument("--side-um", type=float, default=1000.0 if cuda else 80.0)
    parser.add_argument("--simulated", type=float, metavar="S", help="seconds a mm2")
    parser.add_argument("--sides", type=int, default=3, help="copies of the slide, if simulated")
    options = parser.parse_args()
    maps = maps_of_a_window(options.shared, options.encoder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.simulated:
            device = "simulated"
            write_pyramid(options.shared / SLIDE, folder / "P1.tiff", options.sides)
            (folder / f"{options.encoder}.pth").write_bytes(b"none")
            report = simulated(folder, options.encoder, maps, options.simulated)
        else:
            device = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads"
            weights = PUBLISHED[options.encoder]
            network = build(weights.network, **weights.config)
            torch.save(network.state_dict(), folder / f"{options.encoder}.pth")
            for tile, side_um in (("P0.png", 40.0), ("P1.png", options.side_um)):
                cut(options.shared / SLIDE, round(side_um / SLIDE_MPP), folder / tile)
            HoVerNetEncoder.run = run_with_maps_of(maps)
            report = measured(folder, options.encoder, ["P0.png", "P1.png"])
    print(json.dumps({"device": device, "encoder": options.encoder, **report}, indent=1))


def maps_of_a_window(shared: Path, encoder: str) -> np.ndarray:
    """Those of dense nuclei, as the network's output begins, float32 (n,)."""
    config = PUBLISHED[encoder].config
    side = MODES[config["mode"]].output_px
    probability, distances, types = predicted_maps(dense_tile(shared, 256), 0.1)
    maps = np.stack([types, probability, *np.moveaxis(distances, -1, 0)])[:, :side, :side]
    return maps[0 if config["nr_types"] else 1 :].astype(np.float32).ravel()


def run_with_maps_of(maps: np.ndarray) -> Callable[..., np.ndarray]:
    """`NetworkEncoder.run` with other maps."""

    def run(self: NetworkEncoder, *inputs: np.ndarray) -> np.ndarray:
        outputs = NetworkEncoder.run(self, *inputs)
        outputs[:, : len(maps)] = maps
        return outputs

    return run


def simulated(folder: Path, encoder: str, maps: np.ndarray, seconds_a_mm2: float) -> dict[str, Any]:
    """As `measured`, by a network that sleeps, and what of the time it is at work."""
    side = MODES[PUBLISHED[encoder].config["mode"]].output_px
    seconds_a_window = seconds_a_mm2 * (side * MPP / 1000.0) ** 2
    random = np.random.default_rng(0)
    halves = random.standard_normal(FEATURE_CHANNELS * (side // CELL_PX) ** 2).astype(np.float16)
    row = np.concatenate([maps, halves.view(np.float32)])
    began: list[float] = []
    busy: list[float] = []
    is_free = Lock()

    def run(self: NetworkEncoder, windows: np.ndarray) -> np.ndarray:
        with is_free:
            started = perf_counter()
            sleep(len(windows) * seconds_a_window)
            began.append(started)
            busy.append(perf_counter() - started)
        return np.broadcast_to(row, (len(windows), len(row)))

    HoVerNetEncoder.run = run
    for constant in (hovernet_encoder.BATCH_SIZE, hovernet_encoder.THREADS):
        constant["cpu"] = constant["cuda"]
    report = measured(folder, encoder, ["P1.tiff"])
    return {**report, "network_share": round(sum(busy) / (perf_counter() - began[0]), 3)}


def cut(source: Path, side_px: int, path: Path) -> None:
    """The middle of a slide, as a tile."""
    with openslide.OpenSlide(source) as slide:
        corner = [max(0, (side - side_px) // 2) for side in slide.dimensions]
        size = [min(side_px, side) for side in slide.dimensions]
        slide.read_region(corner, 0, size).convert("RGB").save(path)


def measured(folder: Path, encoder: str, files: list[str]) -> dict[str, Any]:
    """Seconds a mm2 of the last file's parts, of the whole and of the processors; those before have
    loaded the network.
    """
    options = IngestOptions(
        encoders=(encoder,), weights=str(folder), mpp=SLIDE_MPP, workers=1, patch_mpp=8.0
    )
    summary: IngestSummary | None = None
    with Store.create(folder / "store") as store:
        for file in files:
            processors = process_time()
            summary = ingest(store, [folder / file], options)
        processors = process_time() - processors
        slides = store.view().table("slide").to_pylist()
    assert summary is not None
    mm2 = next(slide["tissue_mm2"] for slide in slides if slide["patient_id"] == "P1")
    parts = {name: summary.timings[part] for part, name in PARTS.items()}
    parts |= {"whole": summary.seconds, "processors": processors}
    return {
        "tissue_mm2": round(mm2, 4),
        "nuclei": summary.added["nuclei"],
        "seconds_per_mm2": {name: round(seconds / mm2, 2) for name, seconds in parts.items()},
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
