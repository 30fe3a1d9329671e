"""Patches a second of networks from slide file to staged vectors, by their own rate on tensors that
are on the device already; with random weights.

    python benchmarks/patch_encoding.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from slide import SLIDE, write_pyramid

if TYPE_CHECKING:
    from torch import nn

    from tumorbase.ingest.item import Context

ENCODERS = ("resnet50-layer3", "hipt-vit256", "timm-vit_small_patch16_224.dino")
ROUNDS = 3
OWN_SECONDS = 10.0  # for which the network alone is measured


@dataclass(frozen=True)
class Measured:
    """One network: medians of `ROUNDS` rounds, in which both rates are measured in turn."""

    encoder: str
    device: str
    patches: int
    patches_per_second: float
    network_patches_per_second: float
    ratio: float
    ratios: tuple[float, ...]  # of the rounds


def main() -> None:
    """Print one JSON document a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).resolve().parents[2] / "shared"
    default = Path(os.environ.get("TUMORBASE_SHARED", beside))
    parser.add_argument("--slide", type=Path, default=default / SLIDE)
    parser.add_argument("--sides", type=int, default=2, help="copies of the slide a side")
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pyramid.tiff")
        with spawn.Pool(1) as pool:
            pool.apply(write_pyramid, (options.slide, path, options.sides))
        for encoder in options.encoders:
            with spawn.Pool(1) as pool:
                measured = pool.apply(measure, (path, encoder, options.device))
            print(json.dumps(asdict(measured)), flush=True)


def measure(path: Path, name: str, device: str) -> Measured:
    """Both rates of the encoder `name`, in this process."""
    # Heavy libraries are loaded in the measured process only.
    import torch
    from safetensors.torch import save_file

    from tumorbase.ingest.item import Context
    from tumorbase.models.encoders import Runtime
    from tumorbase.models.inference import resolve_device
    from tumorbase.models.networks import build
    from tumorbase.models.published import describe

    torch.manual_seed(0)
    weights = describe(name)
    network = build(weights.network, **weights.config).eval()
    save_file(network.state_dict(), path.parent / f"{name}.safetensors")
    context = Context(path.parent, (name,), Runtime(resolve_device(device), path.parent))
    rounds = []
    for _ in range(ROUNDS + 1):
        patches, seconds = _end_to_end(path, context)
        rounds.append((patches / seconds, _own_rate(network, context)))
    rates, own_rates = zip(*rounds[1:], strict=True)  # the first loads and warms up
    ratios = sorted(round(rate / own, 3) for rate, own in rounds[1:])
    return Measured(
        name,
        context.runtime.device,
        patches,
        round(median(rates), 2),
        round(median(own_rates), 2),
        median(ratios),
        tuple(ratios),
    )


def _end_to_end(path: Path, context: Context) -> tuple[int, float]:
    """Patches and seconds, from opening the slide to the staged file of their vectors."""
    from tumorbase.ingest.item import Item
    from tumorbase.ingest.slides import read_slide

    details = {"slide_id": path.stem, "has_imported_nuclei": True}  # so that none are looked for
    item = Item("slide", f"slide:{path.stem}", str(path), (str(path),), "P1", details)
    started = perf_counter()
    rows = read_slide(item, context)
    return rows.vectors[0].rows, perf_counter() - started


def _own_rate(network: nn.Module, context: Context) -> float:
    """Patches a second of the network alone, on normalised images on its device.

    As many threads call it as when slides are encoded: on a busy machine fewer would get less of
    the processor.
    """
    import torch

    from tumorbase.ingest.patches import READERS
    from tumorbase.models.encoders import build_encoder
    from tumorbase.models.patch_encoders import BATCH_SIZE

    device = torch.device(context.runtime.device)
    encoder = build_encoder(context.encoders[0], context.runtime)
    side = json.loads(encoder.spec.preprocessing)["crop_px"]
    images = torch.randn(BATCH_SIZE[device.type], 3, side, side, device=device)
    is_cuda = device.type == "cuda"
    if is_cuda:
        network = network.to(device, memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    has_bf16 = is_cuda and torch.cuda.is_bf16_supported()
    started = perf_counter()

    def run(_: int) -> float:
        """The rate of one thread."""
        count = 0
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=has_bf16):
            while perf_counter() - started < OWN_SECONDS:
                network(images)
                if is_cuda:
                    torch.cuda.synchronize()
                count += len(images)
        return count / (perf_counter() - started)

    with ThreadPoolExecutor(READERS) as pool:
        return sum(pool.map(run, range(READERS)))


if __name__ == "__main__":
    main()
