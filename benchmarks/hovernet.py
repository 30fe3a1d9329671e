"""Windows a second of HoVer-Net's forward pass, beside torchvision's ResNet-50 on the same batch.

ResNet-50 is a plain measure of the machine, no peer: it works at a quarter of the size and less,
and has no decoders. Weights are random, which changes no time.

    python benchmarks/hovernet.py
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from tumorbase.models.hovernet import MODES, HoVerNet

MPP = 0.25  # micrometres per pixel that the network takes


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    cuda = torch.cuda.is_available()
    parser.add_argument("--batch", type=int, default=32 if cuda else 2)
    parser.add_argument("--repeats", type=int, default=10 if cuda else 3)
    parser.add_argument("--nr-types", type=int, default=6)
    options = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    measured = {
        mode: _measure(mode, options.nr_types, options.batch, options.repeats, device)
        for mode in MODES
    }
    name = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
    print(json.dumps({"device": name, "batch": options.batch, **measured}, indent=1))


def _measure(
    mode: str, nr_types: int, batch: int, repeats: int, device: torch.device
) -> dict[str, float]:
    network = HoVerNet(mode, nr_types)
    side, output = network.mode.window_px, network.mode.output_px
    windows = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    ours = _windows_per_second(network, windows, repeats)
    encoder = nn.Sequential(*list(resnet50().children())[:-2])
    peer = _windows_per_second(encoder, windows / 255.0, repeats)
    mm2_a_window = (output * MPP / 1000.0) ** 2
    return {
        "windows_per_second": round(ours, 2),
        "resnet50_windows_per_second": round(peer, 2),
        "resnet50_over_hovernet": round(peer / ours, 1),
        "seconds_per_mm2": round(1.0 / (ours * mm2_a_window), 1),
    }


def _windows_per_second(network: nn.Module, windows: Tensor, repeats: int) -> float:
    """Of the fastest of some runs; bfloat16 where the device is a GPU, channels last."""
    device = windows.device
    network = network.to(device, memory_format=torch.channels_last).eval()
    windows = windows.contiguous(memory_format=torch.channels_last)
    is_cuda = device.type == "cuda"
    seconds = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=is_cuda):
        for _ in range(repeats + 1):  # the first warms up
            start = perf_counter()
            network(windows)
            if is_cuda:
                torch.cuda.synchronize()
            seconds.append(perf_counter() - start)
    return len(windows) / min(seconds[1:])


if __name__ == "__main__":
    main()
