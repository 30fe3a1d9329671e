"""Seconds a mm2 of tissue of HoVer-Net on a slide of 0.5 um a pixel, from its file to rows in the
store, in parts: read, network, nuclei (post-processing, shapes, types, vectors), write.

    python benchmarks/hovernet_slide.py

The network's weights are random, and its maps are replaced by those of dense real nuclei (CoNSeP),
so that as much is to be done with them as with trained weights. Parts overlap: where they add up to
more than the whole, reading and post-processing hide behind the network.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import openslide
import torch
from hovernet_post import dense_tile, predicted_maps

from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.models.hovernet import MODES
from tumorbase.models.hovernet_encoder import HoVerNetEncoder
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
    options = parser.parse_args()
    HoVerNetEncoder.run = run_with_maps_of(options.shared, options.encoder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = PUBLISHED[options.encoder]
        network = build(weights.network, **weights.config)
        torch.save(network.state_dict(), folder / f"{options.encoder}.pth")
        for tile, side_um in ((folder / "P0.png", 40.0), (folder / "P1.png", options.side_um)):
            cut(options.shared / SLIDE, round(side_um / SLIDE_MPP), tile)
        report = measured(folder, options.encoder)
    device = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
    print(json.dumps({"device": device, "encoder": options.encoder, **report}, indent=1))


def run_with_maps_of(shared: Path, encoder: str) -> object:
    """`NetworkEncoder.run` whose maps are those of dense nuclei."""
    config = PUBLISHED[encoder].config
    side = MODES[config["mode"]].output_px
    probability, distances, types = predicted_maps(dense_tile(shared, 256), 0.1)
    maps = np.concatenate([types[..., None], probability[..., None], distances], axis=-1)
    maps = maps[:side, :side, 0 if config["nr_types"] else 1 :].astype(np.float32)

    def run(self: NetworkEncoder, *inputs: np.ndarray) -> np.ndarray:
        outputs = NetworkEncoder.run(self, *inputs)
        outputs[..., : maps.shape[-1]] = maps
        return outputs

    return run


def cut(source: Path, side_px: int, path: Path) -> None:
    """The middle of a slide, as a tile."""
    with openslide.OpenSlide(source) as slide:
        corner = [max(0, (side - side_px) // 2) for side in slide.dimensions]
        size = [min(side_px, side) for side in slide.dimensions]
        slide.read_region(corner, 0, size).convert("RGB").save(path)


def measured(folder: Path, encoder: str) -> dict[str, float]:
    """Seconds a mm2 of P1's parts and of the whole; P0 has loaded the network before."""
    options = IngestOptions(
        encoders=(encoder,), weights=str(folder), mpp=SLIDE_MPP, workers=1, patch_mpp=8.0
    )
    with Store.create(folder / "store") as store:
        ingest(store, [folder / "P0.png"], options)
        summary = ingest(store, [folder / "P1.png"], options)
        slides = store.view().table("slide").to_pylist()
    mm2 = next(slide["tissue_mm2"] for slide in slides if slide["patient_id"] == "P1")
    a_mm2 = {name: round(summary.timings[part] / mm2, 2) for part, name in PARTS.items()}
    return {
        "tissue_mm2": round(mm2, 4),
        "nuclei": summary.added["nuclei"],
        "seconds_per_mm2": {**a_mm2, "whole": round(summary.seconds / mm2, 2)},
    }


if __name__ == "__main__":
    main()
