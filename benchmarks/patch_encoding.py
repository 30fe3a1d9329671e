"""Patches a second of networks from slide file to staged vectors, by their own rate on tensors that
are on the device already; with random weights.

Two threads call the network in either, each computing alone, as in a worker of an ingest. The
machine's own speed drifts: a slide goes by the mean of the network's rates just before and after
it. The same ratio of processor time does not depend on what else the machine does.

    python benchmarks/patch_encoding.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from slide import default_slide, pyramid

if TYPE_CHECKING:
    from torch import nn

    from tumorbase.ingest.item import Context

ENCODERS = ("resnet50-layer3", "hipt-vit256", "timm-vit_small_patch16_224.dino")
ROUNDS = 5
OWN_SECONDS = 10.0  # for which the network alone is measured


@dataclass(frozen=True)
class Measured:
    """One network: medians of `ROUNDS` slides, each between two measurements of the network."""

    encoder: str
    device: str
    patches: int
    patches_per_second: float
    network_patches_per_second: float
    ratio: float
    ratios: tuple[float, ...]  # of the slides
    processor_ratio: float  # of processor seconds a patch; on a CPU alone


@dataclass(frozen=True)
class Timed:
    """Patches, how many a second, and the processor seconds of each."""

    patches: int
    rate: float
    processor_seconds: float


def main() -> None:
    """Print one JSON document a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, default=default_slide())
    parser.add_argument("--sides", type=int, default=3, help="copies of the slide a side")
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with pyramid(options.slide, options.sides) as path:
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
    torch.set_num_threads(1)
    weights = describe(name)
    network = build(weights.network, **weights.config).eval()
    save_file(network.state_dict(), path.parent / f"{name}.safetensors")
    context = Context(path.parent, (name,), Runtime(resolve_device(device), path.parent))
    _end_to_end(path, context)  # loads the weights
    alone = [_network_alone(network, context)]
    wholes = []
    for _ in range(ROUNDS):
        wholes.append(_end_to_end(path, context))
        alone.append(_network_alone(network, context))
    beside = list(pairwise(alone))
    ratios = sorted(
        round(whole.rate / mean(own.rate for own in pair), 3)
        for whole, pair in zip(wholes, beside, strict=True)
    )
    processor = [
        mean(own.processor_seconds for own in pair) / whole.processor_seconds
        for whole, pair in zip(wholes, beside, strict=True)
    ]
    return Measured(
        name,
        context.runtime.device,
        wholes[0].patches,
        round(median(whole.rate for whole in wholes), 2),
        round(median(own.rate for own in alone), 2),
        median(ratios),
        tuple(ratios),
        round(median(processor), 3),
    )


def _end_to_end(path: Path, context: Context) -> Timed:
    """From opening the slide to the staged file of its patches' vectors."""
    from tumorbase.ingest.item import Item
    from tumorbase.ingest.slides import read_slide

    details = {"slide_id": path.stem}
    item = Item("slide", f"slide:{path.stem}", str(path), (str(path),), "P1", details)
    return _timed(lambda: read_slide(item, context).vectors[0].rows)


def _network_alone(network: nn.Module, context: Context) -> Timed:
    """The bare network, on normalised images that are on its device."""
    import torch

    from tumorbase.ingest.patches import READERS
    from tumorbase.models.encoders import build_encoder
    from tumorbase.models.patch_encoders import BATCH_SIZE

    device = torch.device(context.runtime.device)
    encoder = build_encoder(context.encoders[0], context.runtime)
    side = json.loads(encoder.spec.preprocessing)["crop_px"]
    images = torch.randn(BATCH_SIZE[device.type], 3, side, side, device=device)
    images = images.to(memory_format=torch.channels_last)  # faster, and so it is in ingest
    network = network.to(device, memory_format=torch.channels_last)
    is_cuda = device.type == "cuda"
    has_bf16 = is_cuda and torch.cuda.is_bf16_supported()
    end = perf_counter() + OWN_SECONDS

    def run(_: int) -> int:
        """Patches of one thread."""
        patches = 0
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=has_bf16):
            while perf_counter() < end:
                network(images)
                if is_cuda:
                    torch.cuda.synchronize()
                patches += len(images)
        return patches

    with ThreadPoolExecutor(READERS) as pool:
        return _timed(lambda: sum(pool.map(run, range(READERS))))


def _timed(encode: Callable[[], int]) -> Timed:
    started, processor = perf_counter(), process_time()
    patches = encode()
    seconds = perf_counter() - started
    return Timed(patches, patches / seconds, (process_time() - processor) / patches)


if __name__ == "__main__":
    main()
